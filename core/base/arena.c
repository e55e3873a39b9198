/*
 * arena.c - blocks that grow, and the allocation functions that never fail.
 *
 * A block is one calloc: a header, then bytes handed out from the front.  Blocks double from
 * 4 KiB to 1 MiB; a request that is larger than the next block gets a block of its own size.
 * Nothing is given back before fini, so there is no free list and no per-object header.
 *
 * What is here ends the process when the system has no memory; large memory goes through
 * hn_pages_alloc, which says so instead.
 */
#include <limits.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/crash.h"

#define BLOCK_BYTES_MIN ((size_t)4096)
#define BLOCK_BYTES_MAX ((size_t)1 << 20)
#define PAGE_BYTES      ((size_t)4096)
#define HUGE_PAGE_BYTES ((size_t)2 << 20)
#define EXIT_NO_MEMORY  8
#define ALIGN_UP(n, to) (((n) + (to)-1) & ~((to)-1))

struct hn_arena_block {
	struct hn_arena_block *previous;
	alignas(max_align_t) unsigned char bytes[];
};

/* The one variable of the process outside of main: a counter that only tests read. */
static _Atomic uint64_t alloc_count;

/* Relaxed: the count is read when no other thread allocates. */
static void
count(void)
{
	atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
}

uint64_t
hn_alloc_count(void)
{
	return atomic_load_explicit(&alloc_count, memory_order_relaxed);
}

/* Writes without stdio: there may be no memory for a buffer, and any thread may be here.
 * _exit, because handlers of other threads' state must not run now. */
_Noreturn static void
end_without_memory(size_t bytes)
{
	char line[96];
	int n = snprintf(
		line, sizeof line, "error: out of memory: %zu bytes were refused\n", bytes);

	if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(EXIT_NO_MEMORY);
	_exit(EXIT_NO_MEMORY);
}

/* The one abort of the program: a state that no input can reach. The line names the
 * place, the core dump the rest. */
_Noreturn void
hn_bug(const char *file, int line, const char *condition)
{
	(void)fprintf(stderr, "bug in hone: %s:%d: %s\n", file, line, condition);
	(void)fflush(stderr);
	hn_crash_said();
	abort();
}

/* Zeroed, so that a struct whose members are all 0 is a valid empty one; calloc gets
 * that from the system for large blocks without touching them. */
void *
hn_alloc(size_t bytes)
{
	void *memory = calloc(1, bytes ? bytes : 1);

	count();
	if (!memory)
		end_without_memory(bytes);
	return memory;
}

/* Bytes beyond the old size are undefined, unlike those of hn_alloc. */
void *
hn_realloc(void *old, size_t bytes)
{
	void *memory = realloc(old, bytes ? bytes : 1);

	count();
	if (!memory)
		end_without_memory(bytes);
	return memory;
}

/* Half again as much each time, so that n appends cost O(n) copies. */
void *
hn_grow(void *old, size_t *cap, size_t need, size_t bytes)
{
	size_t grown, total;

	if (need <= *cap && old)
		return old;
	grown = *cap + *cap / 2 + 8;
	if (grown < need)
		grown = need;
	if (__builtin_mul_overflow(grown, bytes, &total))
		end_without_memory(SIZE_MAX);
	old = hn_realloc(old, total);
	*cap = grown;
	return old;
}

/* Owned by the caller, freed with free. */
char *
hn_strdup(const char *text)
{
	size_t n = strlen(text) + 1;

	return memcpy(hn_alloc(n), text, n);
}

/* What is left of the block before is lost: at most the size of one request, since
 * larger ones get a block of their own. */
static void
add_block(struct hn_arena *arena, size_t need)
{
	size_t size = arena->size * 2, total;
	struct hn_arena_block *block;

	if (size < BLOCK_BYTES_MIN)
		size = BLOCK_BYTES_MIN;
	if (size > BLOCK_BYTES_MAX)
		size = BLOCK_BYTES_MAX;
	if (size < need)
		size = need;
	if (__builtin_add_overflow(size, sizeof *block, &total))
		end_without_memory(size);
	block = calloc(1, total);
	if (!block)
		end_without_memory(total);
	block->previous = arena->last;
	arena->last = block;
	arena->used = 0;
	arena->size = size;
}

/* Zeroed, because a block is; aligned for every type. Nothing is ever moved, so pointers
 * stay valid until fini. */
void *
hn_arena_alloc(struct hn_arena *arena, size_t bytes)
{
	void *memory;

	count();
	if (bytes > SIZE_MAX / 2)
		end_without_memory(bytes);
	bytes = ALIGN_UP(bytes ? bytes : 1, alignof(max_align_t));
	if (!arena->last || bytes > arena->size - arena->used)
		add_block(arena, bytes);
	memory = arena->last->bytes + arena->used;
	arena->used += bytes;
	return memory;
}

/* n and bytes may come from a file: a product that wraps must not become a small block. */
void *
hn_arena_array(struct hn_arena *arena, size_t n, size_t bytes)
{
	size_t total;

	if (__builtin_mul_overflow(n, bytes, &total))
		end_without_memory(SIZE_MAX);
	return hn_arena_alloc(arena, total);
}

/* Stops at a NUL before n bytes: names in files may be padded. */
char *
hn_arena_strndup(struct hn_arena *arena, const char *text, size_t n)
{
	size_t len = strnlen(text, n);
	char *copy = hn_arena_alloc(arena, len + 1);

	memcpy(copy, text, len);
	return copy;
}

char *
hn_arena_strdup(struct hn_arena *arena, const char *text)
{
	return hn_arena_copy(arena, text, strlen(text) + 1);
}

void *
hn_arena_copy(struct hn_arena *arena, const void *bytes, size_t n)
{
	void *copy = hn_arena_alloc(arena, n);

	if (n)
		memcpy(copy, bytes, n);
	return copy;
}

/* Measured first, then written: the text is as long as it needs to be. */
char *
hn_arena_printf(struct hn_arena *arena, const char *fmt, ...)
{
	va_list args, again;
	char *text;
	int n;

	va_start(args, fmt);
	va_copy(again, args);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	HONE_BUG_ON(n < 0);
	text = hn_arena_alloc(arena, (size_t)n + 1);
	(void)vsnprintf(text, (size_t)n + 1, fmt, again);
	va_end(again);
	return text;
}

void
hn_arena_fini(struct hn_arena *arena)
{
	struct hn_arena_block *block = arena->last;

	while (block) {
		struct hn_arena_block *previous = block->previous;

		free(block);
		block = previous;
	}
	*arena = (struct hn_arena){0};
}

/* The mapping is a whole number of pages, the same number in both functions. */
static size_t
pages_bytes(size_t bytes)
{
	return ALIGN_UP(bytes ? bytes : 1, PAGE_BYTES);
}

/* Zeroed pages of their own, aligned as devices want memory that they borrow. NULL when
 * the system has none: unlike small memory that is the user's to mend. */
void *
hn_pages_alloc(size_t bytes)
{
	void *pages;

	count();
	if (bytes > SIZE_MAX / 2)
		return NULL;
	bytes = pages_bytes(bytes);
	pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		return NULL;
	/* Advice only: a kernel without huge pages refuses, and that changes nothing. */
	if (bytes >= HUGE_PAGE_BYTES)
		(void)madvise(pages, bytes, MADV_HUGEPAGE);
	return pages;
}

void
hn_pages_free(void *pages, size_t bytes)
{
	if (pages)
		(void)munmap(pages, pages_bytes(bytes));
}
