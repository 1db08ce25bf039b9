// Package resend is the control plane of pushes: it shows what is parked, has it
// sent again, replays what was pushed before, and counts how all pushes stand. It
// sends nothing itself: it makes rows of what is owed due, and delivery takes them
// up as it does its own.
//
// What it is asked for is a job, which is also the record of who asked. The first
// batch is done before the answer; the others follow one after the other, with a
// rest between them, whichever instance does them: the rows, how far the job is,
// and the word to delivery are one transaction, so a crash loses and repeats
// nothing.
package resend
