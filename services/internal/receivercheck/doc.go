// Package receivercheck plays Posthaste against a receiver, honestly and not, and
// says what the receiver does wrong: pushes as they come, repeated, at once, out
// of order, large; and what must not be taken, badly signed, stale or without
// headers; and connections that hang.
//
// It sees answers only. Whether a repeat had a second effect is for the
// receiver's owner to look at: all pushes are of subscriptions whose ids begin
// with "sub_receivercheck".
package receivercheck
