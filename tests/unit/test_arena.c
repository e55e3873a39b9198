/*
 * test_arena.c - alignment, zeroes, growth, counting, and the end without memory.
 */
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "support.h"

static void
assert_zeroed(const unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(bytes[i], 0);
}

/* Catches: a block whose rest is handed out unaligned, dirty, or twice. */
static void
test_arena_many_sizes_aligned_zeroed_and_apart(void **state)
{
	struct hn_arena arena = {0};
	unsigned char *parts[500];

	(void)state;
	for (size_t i = 0; i < 500; i++) {
		parts[i] = hn_arena_alloc(&arena, i * 7 % 613);
		assert_int_equal((uintptr_t)parts[i] % alignof(max_align_t), 0);
		assert_zeroed(parts[i], i * 7 % 613);
		memset(parts[i], (int)(i % 255) + 1, i * 7 % 613);
	}
	for (size_t i = 0; i < 500; i++)
		for (size_t j = 0; j < i * 7 % 613; j++)
			assert_int_equal(parts[i][j], i % 255 + 1);
	hn_arena_fini(&arena);
	assert_null(arena.last);
	assert_int_equal(arena.size, 0);
}

/* Catches: a request larger than any block that overruns the block. */
static void
test_arena_larger_than_a_block_fits(void **state)
{
	struct hn_arena arena = {0};
	size_t n = (size_t)3 << 20;
	unsigned char *large;

	(void)state;
	(void)hn_arena_alloc(&arena, 1);
	large = hn_arena_alloc(&arena, n);
	large[0] = large[n - 1] = 1;
	(void)hn_arena_alloc(&arena, 100);
	hn_arena_fini(&arena);
}

/* Catches: a missing NUL, a copy that reads behind its source, a cut printf. */
static void
test_arena_copies_equal_their_sources(void **state)
{
	static const char bytes[4] = {1, 0, 2, 3};
	struct hn_arena arena = {0};
	char *text;

	(void)state;
	assert_string_equal(hn_arena_strdup(&arena, "hone"), "hone");
	assert_string_equal(hn_arena_strndup(&arena, "hone", 2), "ho");
	assert_string_equal(hn_arena_strndup(&arena, "hone", 9), "hone");
	assert_memory_equal(hn_arena_copy(&arena, bytes, 4), bytes, 4);
	text = hn_arena_printf(&arena, "%05000d|%s", 7, "end");
	assert_int_equal(strlen(text), 5004);
	assert_string_equal(text + 4999, "7|end");
	hn_arena_fini(&arena);
}

/* Catches: hn_grow that loses what was there or does not make room. */
static void
test_arena_grow_keeps_contents(void **state)
{
	size_t cap = 0;
	int *numbers = NULL;
	char *copy = hn_strdup("x");

	(void)state;
	for (size_t i = 0; i < 10000; i++) {
		numbers = hn_grow(numbers, &cap, i + 1, sizeof *numbers);
		assert_true(cap > i);
		numbers[i] = (int)i;
	}
	for (size_t i = 0; i < 10000; i++)
		assert_int_equal(numbers[i], (int)i);
	assert_string_equal(copy, "x");
	free(copy);
	free(numbers);
}

/* Catches: an allocating function that the counter does not see, so that the test of "the
 * step allocates nothing" would pass with an allocation in it. */
static void
test_arena_each_allocation_is_counted(void **state)
{
	struct hn_arena arena = {0};
	uint64_t before = hn_alloc_count();
	void *heap, *pages;
	size_t cap = 0;

	(void)state;
	(void)hn_arena_alloc(&arena, 8);
	assert_int_equal(hn_alloc_count(), before + 1);
	heap = hn_realloc(hn_alloc(8), 16);
	assert_int_equal(hn_alloc_count(), before + 3);
	free(heap);
	free(hn_grow(NULL, &cap, 1, 1));
	assert_int_equal(hn_alloc_count(), before + 4);
	pages = hn_pages_alloc(100);
	assert_int_equal(hn_alloc_count(), before + 5);
	hn_pages_free(pages, 100);
	free(hn_strdup("x"));
	assert_int_equal(hn_alloc_count(), before + 6);
	(void)hn_arena_strdup(&arena, "x");
	(void)hn_arena_array(&arena, 2, 3);
	(void)hn_arena_printf(&arena, "x");
	assert_int_equal(hn_alloc_count(), before + 9);
	hn_arena_fini(&arena);
}

/* Catches: pages that are not zeroed or aligned; a refusal that ends the process. */
static void
test_arena_pages_aligned_and_refused_with_null(void **state)
{
	size_t n = ((size_t)5 << 20) + 3;
	unsigned char *pages = hn_pages_alloc(n);

	(void)state;
	assert_non_null(pages);
	assert_int_equal((uintptr_t)pages % 4096, 0);
	assert_zeroed(pages, n);
	pages[n - 1] = 1;
	hn_pages_free(pages, n);
	assert_null(hn_pages_alloc(SIZE_MAX));
	assert_null(hn_pages_alloc((size_t)1 << 60));
	hn_pages_free(NULL, 5);
}

static void
ask_for_array(struct hn_arena *arena)
{
	(void)hn_arena_array(arena, SIZE_MAX / 4 + 2, 4);
}

static void
ask_for_bytes(struct hn_arena *arena)
{
	(void)hn_arena_alloc(arena, SIZE_MAX - 2);
}

static void
ask_to_grow(struct hn_arena *arena)
{
	size_t cap = 0;

	(void)arena;
	(void)hn_grow(NULL, &cap, SIZE_MAX / 16 + 2, 16);
}

/* Runs `ask` in a child with stderr in a pipe; gives its wait status and its line. */
static int
run_child(void (*ask)(struct hn_arena *arena), char line[256])
{
	struct hn_arena arena = {0};
	int ends[2], status;
	ssize_t n;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		(void)dup2(ends[1], STDERR_FILENO);
		ask(&arena);
		_exit(0);
	}
	(void)close(ends[1]);
	n = read(ends[0], line, 255);
	line[n > 0 ? n : 0] = '\0';
	(void)close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

/* Catches: a product that wraps into a small allocation, and an end without its line. */
static void
test_arena_impossible_size_exits_8_with_line(void **state)
{
	void (*const asks[])(struct hn_arena * arena) = {ask_for_array, ask_for_bytes, ask_to_grow};

	(void)state;
	for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
		char line[256];
		int status = run_child(asks[i], line);

		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 8);
		assert_non_null(strstr(line, "error: out of memory"));
		assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	}
}

static void
break_a_rule(struct hn_arena *arena)
{
	HONE_BUG_ON(arena != NULL);
}

/* Catches: HONE_BUG_ON that goes on, or does not say where. */
static void
test_arena_bug_aborts_with_place(void **state)
{
	char line[256];
	int status = run_child(break_a_rule, line);

	(void)state;
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
	assert_non_null(strstr(line, "test_arena.c"));
	assert_non_null(strstr(line, "arena != NULL"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arena_many_sizes_aligned_zeroed_and_apart),
		cmocka_unit_test(test_arena_larger_than_a_block_fits),
		cmocka_unit_test(test_arena_copies_equal_their_sources),
		cmocka_unit_test(test_arena_grow_keeps_contents),
		cmocka_unit_test(test_arena_each_allocation_is_counted),
		cmocka_unit_test(test_arena_pages_aligned_and_refused_with_null),
		cmocka_unit_test(test_arena_impossible_size_exits_8_with_line),
		cmocka_unit_test(test_arena_bug_aborts_with_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
