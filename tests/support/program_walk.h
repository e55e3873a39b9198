/*
 * support/program_walk.h - walks the commands of a planned program with a map of its arena.
 *
 * The map says for each byte of the arena which value was written there last.  A command may
 * read a value only where all of its bytes are still its own; what it writes becomes its
 * results'.  Regions are walked twice, as chunks run, with sums that add to themselves from
 * the second chunk on.  The walk knows nothing of lifetimes or of how places were found.
 */
#ifndef HN_TEST_PROGRAM_WALK_H
#define HN_TEST_PROGRAM_WALK_H

#include "graph/program.h"

/* false with the reason when a command reads memory that holds another value, results of a
 * command overlap each other or an operand that op.h does not let them replace, or an output
 * does not survive until the end. */
bool program_walk(const struct hn_program *program, char why[256]);

#endif
