// Package obs makes what an operator looks at: logs, metrics, traces, and the
// HTTP server that shows them beside health and profiles. Nothing is global:
// whoever measures is handed a provider, so two instances fit into one test.
//
// Traces cost nothing unless an exporter is asked for: then a share of what
// comes in without a trace context is sampled, and whatever comes in with one
// follows the caller's decision. The context travels through streams in message
// headers, see [Inject] and [Extract].
package obs
