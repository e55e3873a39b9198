/*
 * base/arena.h - memory that is given back all at once.
 *
 * An arena hands out aligned, zeroed memory from growing blocks and frees it as a whole.
 * It never returns NULL: when the system has no memory left the process ends with exit 8
 * and one line, because everything in an arena is small; large memory (weights, the step's
 * arena, file contents) is asked for with functions that return a status.
 */
#ifndef HN_BASE_ARENA_H
#define HN_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <hone/status.h>

struct hn_arena_block;
struct hn_arena {
	struct hn_arena_block *last;
	size_t used, size; /* in the last block */
};

/* A zeroed struct hn_arena is ready for use; fini frees everything and zeroes it. */
void hn_arena_fini(struct hn_arena *arena);

/* `bytes` zeroed bytes aligned for any type, valid until fini. */
void *hn_arena_alloc(struct hn_arena *arena, size_t bytes);

/* Array of n elements; n * bytes is checked. */
void *hn_arena_array(struct hn_arena *arena, size_t n, size_t bytes);

char *hn_arena_strdup(struct hn_arena *arena, const char *text);
char *hn_arena_strndup(struct hn_arena *arena, const char *text, size_t n);
void *hn_arena_copy(struct hn_arena *arena, const void *bytes, size_t n);
HONE_PRINTF(2, 3) char *hn_arena_printf(struct hn_arena *arena, const char *fmt, ...);

/* Zeroed memory and realloc that end the process with exit 8 and one line on stderr; for
 * small memory with a life of its own.  Freed with free(). */
void *hn_alloc(size_t bytes);
void *hn_realloc(void *old, size_t bytes);
/* Grows a heap array so that it holds `need` elements of `bytes`; *cap is its capacity.
 * What is new in it is not set. */
void *hn_grow(void *old, size_t *cap, size_t need, size_t bytes);
char *hn_strdup(const char *text);

/* Large memory: page-aligned, zero-filled by the system, huge pages advised.  NULL when the
 * system refuses.  Freed with hn_pages_free and the same size. */
void *hn_pages_alloc(size_t bytes);
void hn_pages_free(void *pages, size_t bytes);

/* Number of calls of the allocating functions above since start, in all threads: the step
 * after the plan allocates nothing, and a test counts. */
uint64_t hn_alloc_count(void);

/* The only way to abort: our own bug.  Prints file, line and the condition. */
#define HONE_BUG_ON(condition)                                                                     \
	do {                                                                                       \
		if (condition)                                                                     \
			hn_bug(__FILE__, __LINE__, #condition);                                    \
	} while (0)
_Noreturn void hn_bug(const char *file, int line, const char *condition);

#endif
