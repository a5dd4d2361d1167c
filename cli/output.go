package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"
)

// marshalJSON returns a message with every field that has no absent state, so
// that scripts need not tell false from missing. Field names are those of
// caracal.proto in lowerCamelCase.
func marshalJSON(m proto.Message, indent bool) ([]byte, error) {
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	// protojson varies its blanks on purpose; encoding/json puts them in order.
	var out bytes.Buffer
	if indent {
		err = json.Indent(&out, raw, "", "  ")
	} else {
		err = json.Compact(&out, raw)
	}
	return out.Bytes(), err
}

// printMessage prints a message as JSON or YAML.
func printMessage(w io.Writer, f Format, m proto.Message) error {
	out, err := marshalJSON(m, f == JSON)
	return printRaw(w, f, out, err)
}

// printValue prints what is no message.
func printValue(w io.Writer, f Format, v any) error {
	out, err := json.MarshalIndent(v, "", "  ")
	return printRaw(w, f, out, err)
}

func printRaw(w io.Writer, f Format, out []byte, err error) error {
	if err == nil && f == YAML {
		out, err = yaml.JSONToYAML(out)
	}
	if err != nil {
		return fmt.Errorf("print the answer as %s: %w", f, err)
	}
	_, err = fmt.Fprintln(w, string(bytes.TrimRight(out, "\n")))
	return err
}

// printEvent prints one message of a stream: a line of JSON, or a YAML document.
func printEvent(w io.Writer, f Format, m proto.Message) error {
	if f == YAML {
		fmt.Fprintln(w, "---")
		return printMessage(w, f, m)
	}
	out, err := marshalJSON(m, false)
	if err != nil {
		return fmt.Errorf("print the event: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", out)
	return err
}
