/*
 * train/interrupt.h - SIGINT, SIGTERM and SIGHUP become a question that is asked between steps.
 *
 * The first signal is only remembered: the step is finished, a checkpoint written, and the
 * process exits with 128 + signal (130, 143, 129).  The second says in one line what is kept and
 * ends the process at once, by the default action; what was saved stays whole, because saving
 * is atomic.
 */
#ifndef HN_TRAIN_INTERRUPT_H
#define HN_TRAIN_INTERRUPT_H

#include <stdint.h>

/* Begins to listen; a signal that was ignored before (nohup, a shell's background) stays
 * ignored.  Forgets an earlier signal.  [main] */
void hn_interrupt_begin(void);
/* The handlers of before come back.  [main] */
void hn_interrupt_end(void);
/* The step of the newest checkpoint, -1 = none: what a second signal says is kept.  [main] */
void hn_interrupt_saved(int64_t step);
/* The signal that came first, 0 = none.  [any thread] */
int hn_interrupt_requested(void);

#endif
