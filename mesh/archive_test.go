package mesh_test

import (
	"bytes"
	"strings"
)

// archive is a txtar file: a comment, and files each behind a line "-- NAME --".
type archive struct {
	comment string
	files   []archived
}

type archived struct{ name, data string }

func parseArchive(text []byte) archive {
	var a archive
	into := &a.comment
	for line := range bytes.Lines(text) {
		if rest, ok := strings.CutPrefix(string(bytes.TrimSpace(line)), "-- "); ok && strings.HasSuffix(rest, " --") {
			a.files = append(a.files, archived{name: strings.TrimSuffix(rest, " --")})
			into = &a.files[len(a.files)-1].data
			continue
		}
		*into += string(line)
	}
	return a
}

func (a archive) String() string {
	var b strings.Builder
	b.WriteString(a.comment)
	for _, f := range a.files {
		b.WriteString("-- " + f.name + " --\n" + f.data)
	}
	return b.String()
}
