package aws

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// maxNameLength bounds the name of a load balancer or target group.
const maxNameLength = 32

var notAlnum = regexp.MustCompile(`[^0-9A-Za-z]`)

// hash is what the controller derives a name's end from: the parts, one after
// the other.
func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "")))
	return hex.EncodeToString(sum[:])
}

// loadBalancerName is the controller's, the scenario taking the place of the
// cluster's name. LBC: model_build_load_balancer.go buildLoadBalancerName
func loadBalancerName(cluster, groupID string, explicit bool, scheme string) string {
	sum := hash(cluster, groupID, scheme)
	if explicit {
		return fmt.Sprintf("k8s-%.17s-%.10s", notAlnum.ReplaceAllString(groupID, ""), sum)
	}
	namespace, name, _ := strings.Cut(groupID, "/")
	return fmt.Sprintf("k8s-%.8s-%.8s-%.10s", notAlnum.ReplaceAllString(namespace, ""), notAlnum.ReplaceAllString(name, ""), sum)
}

// targetGroupKey is what decides a target group's name.
type targetGroupKey struct {
	cluster, groupID                      string
	ingressNamespace, ingressName         string
	serviceNamespace, serviceName         string
	serviceUID, servicePort, port         string
	targetType, protocol, protocolVersion string
}

// name is the controller's. LBC: model_build_target_group.go buildTargetGroupName
func (k targetGroupKey) name() string {
	sum := hash(k.cluster, k.groupID, k.ingressNamespace, k.ingressName, k.serviceUID, k.servicePort, k.port,
		k.targetType, k.protocol, k.protocolVersion)
	return fmt.Sprintf("k8s-%.8s-%.8s-%.10s",
		notAlnum.ReplaceAllString(k.serviceNamespace, ""), notAlnum.ReplaceAllString(k.serviceName, ""), sum)
}

// targetGroupARN is a made-up one, whose last part AWS would choose.
func targetGroupARN(region, account, name string) string {
	return fmt.Sprintf("arn:aws:elasticloadbalancing:%s:%s:targetgroup/%s/%.16s", region, account, name, hash(region, account, name))
}
