// Package recognize tells which carriers a waybill number may belong to, from
// its form, its check digit, and what carriers answered for numbers that begin
// alike.
//
// It answers with a ranked list and reasons, never with one silent guess: some
// forms, such as twelve digits, are used by half a dozen carriers. A form that
// fits doesn't say that the parcel exists.
//
// It is pure. Remembering what was learned is pg's; asking is for whoever has a
// number without a carrier.
package recognize
