//go:build tools

// Package tools keeps h2spec's command in go.mod.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
