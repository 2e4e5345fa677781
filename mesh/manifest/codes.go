package manifest

// Diagnostic codes of this package, HOP1001 to HOP1999. A code is never given
// to another fault, also when its own is gone.
const (
	CodeFileTooLarge     = "HOP1001" // the file is over 32 MiB
	CodeEncoding         = "HOP1002" // the file is not UTF-8
	CodeYAMLSyntax       = "HOP1003" // not YAML
	CodeJSONSyntax       = "HOP1004" // not JSON
	CodeNotAnObject      = "HOP1005" // a document that is a list or a scalar
	CodeNoKind           = "HOP1006" // apiVersion or kind missing or malformed
	CodeDuplicateKey     = "HOP1007" // one key twice in one object
	CodeAnchorCycle      = "HOP1008" // an anchor that holds itself
	CodeAliasExpansion   = "HOP1009" // aliases blow the document up
	CodeTooComplex       = "HOP1010" // too many values, or nested too deep
	CodeNotJSON          = "HOP1011" // YAML that JSON cannot express
	CodeYAML11Boolean    = "HOP1012" // yes, no, on, off, y, n unquoted
	CodeNoMatchForKind   = "HOP1013" // the cluster has no such kind or version
	CodeUnsupportedKind  = "HOP1014" // a real kind that hoplab does not take yet
	CodeUnknownField     = "HOP1015" // a field that the kind does not have
	CodeWrongType        = "HOP1016" // a value of the wrong type
	CodeImpossibleValue  = "HOP1017" // the right type, but no value of the field
	CodeBase64           = "HOP1018" // data that is not base64
	CodeRequired         = "HOP1019" // a required field is missing
	CodeName             = "HOP1020" // metadata.name missing or malformed
	CodeOldIngress       = "HOP1021" // an Ingress of a version that is gone
	CodeInvalid          = "HOP1022" // the API server's validation refuses it
	CodeExclusive        = "HOP1023" // two fields of which only one may be set
	CodeOperatorIgnored  = "HOP1024" // an IstioOperator field without effect
	CodeScenarios        = "HOP1026" // more than one Scenario document
	CodeDuplicateEntry   = "HOP1027" // a Scenario names one thing twice
	CodeUnknownReference = "HOP1028" // a Scenario names what it does not define
	CodeManyFaults       = "HOP1029" // a document has more faults than are listed
)

// Code explains one diagnostic code to people.
type Code struct{ Title, Explanation string }

// Codes explains every code of this package; docs/diagnostics.md is made from it.
var Codes = map[string]Code{
	CodeFileTooLarge:     {"The file is too large", "A file may have 32 MiB. An object in a cluster may have about 1.5 MiB (etcd's limit), so a larger file is hardly one of manifests."},
	CodeEncoding:         {"The file is not UTF-8", "YAML and JSON manifests are UTF-8 text, with or without a byte order mark. Convert the file, for instance with `iconv -t UTF-8`."},
	CodeYAMLSyntax:       {"The document is not YAML", "The usual reasons are a tab where spaces must indent, an indentation that fits no level, a quote or bracket that is never closed, and an unrendered Helm template. Render a chart first: `helm template . | hoplab up -`."},
	CodeJSONSyntax:       {"The document is not JSON", "The document starts as JSON does and cannot be read as such, nor as YAML."},
	CodeNotAnObject:      {"The document is not an object", "Each document must be a mapping with apiVersion, kind and metadata. A list of objects is written as `kind: List` with `items`."},
	CodeNoKind:           {"apiVersion or kind is missing", "Each document says what it is in `apiVersion` (`GROUP/VERSION`, or `v1`) and `kind`. Files of other programs, such as a chart's values.yaml, are no manifests."},
	CodeDuplicateKey:     {"A key stands twice in one object", "YAML forbids it; kubectl silently takes the last one, so that what you read first is not what the cluster gets. Keep one."},
	CodeAnchorCycle:      {"An anchor holds itself", "An alias stands within the value that its anchor names: the value would have no end."},
	CodeAliasExpansion:   {"Aliases blow the document up", "Written out, the aliases make the document more than ten times as large as it is. kubectl refuses such documents as well (\"excessive aliasing\")."},
	CodeTooComplex:       {"Too many documents or values, or too deep", "A file may hold two million values (a document likewise, with its aliases written out) in 100,000 documents, nested 200 levels deep. Split it."},
	CodeNotJSON:          {"A value that JSON cannot express", "Manifests travel to the API server as JSON: keys are strings, and there is no infinity, no NaN and no binary value."},
	CodeYAML11Boolean:    {"yes, no, on, off, y and n are booleans", "kubectl reads YAML 1.1, in which these unquoted words are booleans, as keys also (`on: x` becomes `\"true\": x`). Most editors read YAML 1.2, in which they are text. Write true or false, or quote the word."},
	CodeNoMatchForKind:   {"The cluster has no such kind", "kubectl would answer `no matches for kind`: the kind, its group or its version is misspelt, or the version has been removed."},
	CodeUnsupportedKind:  {"hoplab does not take this kind yet", "The kind is real and would change what happens to a request, so hoplab refuses it instead of showing you something else than your cluster does. Leave the document out to go on without it."},
	CodeUnknownField:     {"The kind has no such field", "kubectl refuses it (`strict decoding error: unknown field`). Look for a misspelling or a wrong indentation. Names are camelCase and case matters."},
	CodeWrongType:        {"The value has the wrong type", "For instance a number in quotes where a number is expected, or an unquoted number or boolean where text is expected."},
	CodeImpossibleValue:  {"The field cannot have this value", "The value has the right type but is none that the field takes: not one of a fixed set, outside of the range, or malformed."},
	CodeBase64:           {"The data is not base64", "The values under a Secret's `data` are base64. Plain text goes under `stringData`."},
	CodeRequired:         {"A required field is missing", "The API server refuses the object without it."},
	CodeName:             {"The name is missing or malformed", "metadata.name is required. Most names are DNS subdomains: at most 253 lower case letters, digits, '-' and '.', starting and ending with a letter or digit. A Namespace's is a DNS label (63, no '.'), and a Service's must start with a letter as well."},
	CodeOldIngress:       {"An Ingress of a version that is gone", "Kubernetes 1.22 removed extensions/v1beta1 and networking.k8s.io/v1beta1. hoplab converts the Ingress, so that old articles can be followed; a cluster of today answers `no matches for kind \"Ingress\"`."},
	CodeInvalid:          {"The API server refuses the object", "The API server's own validation of the kind does not let it pass."},
	CodeExclusive:        {"Only one of these fields may be set", "The fields are alternatives. Keep one."},
	CodeOperatorIgnored:  {"An IstioOperator setting without effect", "Either IstioOperator has no such field at that place (istioctl and the operator ignore it), or it has and hoplab does not act on it yet. Article configurations often nest `gateways` under `meshConfig`; it belongs under `values`."},
	CodeScenarios:        {"More than one Scenario", "The documents of one scenario hold at most one `kind: Scenario`."},
	CodeDuplicateEntry:   {"The Scenario names one thing twice", "Names (of certificates: ARNs) must be unique in their list."},
	CodeUnknownReference: {"The Scenario names what it does not define", "For instance an authority that `authorities` does not list."},
	CodeManyFaults:       {"More faults than are listed", "Of one document at most 200 faults are listed. Mend those, and look again."},
}
