// Command comments reads a FileDescriptorSet with source information from
// standard input and writes the comments of ours by full name, sorted, in JSON.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "comments:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

func run(in io.Reader, out io.Writer) error {
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(b, set); err != nil {
		return err
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return err
	}
	comments := map[string]string{}
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if strings.HasPrefix(string(f.Package()), "posthaste.") {
			messages(comments, f, f.Messages())
			for i := range f.Services().Len() {
				s := f.Services().Get(i)
				note(comments, f, s)
				for j := range s.Methods().Len() {
					note(comments, f, s.Methods().Get(j))
				}
			}
		}
		return true
	})
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(comments)
}

func messages(comments map[string]string, f protoreflect.FileDescriptor, list protoreflect.MessageDescriptors) {
	for i := range list.Len() {
		m := list.Get(i)
		note(comments, f, m)
		for j := range m.Fields().Len() {
			note(comments, f, m.Fields().Get(j))
		}
		messages(comments, f, m.Messages())
	}
}

func note(comments map[string]string, f protoreflect.FileDescriptor, d protoreflect.Descriptor) {
	if text := f.SourceLocations().ByDescriptor(d).LeadingComments; text != "" {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		comments[string(d.FullName())] = strings.Join(lines, "\n")
	}
}
