/*
 * parity/test_lists.c - random lists of commands: the cpu backend gives the memory that their
 * commands give one by one.
 *
 * The backend runs neighbouring commands together where addresses allow it (joined.c, gate.c,
 * end.c, products of the same rows), so a list must leave the bits of its commands, for any
 * number of threads.  Only a narrow product that joins another saves a rounding: lists with
 * such pairs are compared with a tolerance.  A wrong answer to "may these run together" shows
 * here as other bits, for some placement of operands that no one thought of.
 *
 * To replay a list: parity_lists SEED [PATH], with the numbers that a failure prints.
 */
#include "cpu_host.h"
#include "random_list.h"

#include "place.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

enum { THREADS = 3, LISTS = 2000, LISTS_INSTRUMENTED = 60, FAILURES_MAX = 3, MARGIN = 4096 };

#define TAME 1e4 /* what a list may hold */
/* Of lists with a joined pair, where a chain of commands carries the rounding that was saved:
 * measured on 20,000 lists a path, at most 1.7e-6 and 2.4e-2. */
#define TOLERANCE_F32  1e-5
#define TOLERANCE_BF16 4e-2

/* One path with 1 to THREADS threads, and the memory that lists run on. */
struct lab {
	struct cpu_host host[THREADS];
	struct ops_device device[THREADS];
	uint8_t *memory, *begin, *single, *first; /* first: at once, one thread */
};

/* false where this processor lacks the path. */
static bool
lab_open(struct lab *lab, int32_t path)
{
	for (int32_t i = 0; i < THREADS; i++) {
		cpu_host_open(&lab->host[i], i + 1);
		if (!cpu_host_device(&lab->host[i], path, &lab->device[i])) {
			assert_int_equal(i, 0);
			cpu_host_close(&lab->host[i]);
			return false;
		}
	}
	return true;
}

static void
lab_close(struct lab *lab)
{
	for (int32_t i = 0; i < THREADS; i++) {
		ops_close(&lab->device[i]);
		cpu_host_close(&lab->host[i]);
	}
}

/* ---- memory ---- */

/* Small numbers of both types, made once; a list's memory begins somewhere in them. */
struct pattern {
	uint16_t bf16[LIST_MEMORY];
	float f32[LIST_MEMORY / 2];
};

static void
pattern_fill(struct pattern *p)
{
	for (size_t i = 0; i < sizeof p->f32 / sizeof p->f32[0]; i++) {
		p->f32[i] = (float)(0.3 * hn_rng_uniform(11, 0, i, 0) - 0.15);
		p->bf16[2 * i] = hone_bf16_from_f32(p->f32[i]);
		p->bf16[2 * i + 1] =
			hone_bf16_from_f32((float)(0.3 * hn_rng_uniform(11, 1, i, 0) - 0.15));
	}
}

/* Bytes of a half that a list uses, and a margin behind them that it may not. */
static uint64_t
bytes_of_half(const struct random_list *l, uint32_t half)
{
	const uint64_t bytes = l->used[half] + MARGIN,
		       most = half ? LIST_MEMORY - LIST_HALF : LIST_HALF;

	return bytes < most ? bytes : most;
}

static void
copy(const struct random_list *l, uint8_t *to, const uint8_t *from)
{
	memcpy(to, from, bytes_of_half(l, 0));
	memcpy(to + LIST_HALF, from + LIST_HALF, bytes_of_half(l, 1));
}

/* The first byte that differs; LIST_MEMORY = none. */
static uint64_t
find_other(const struct random_list *l, const uint8_t *a, const uint8_t *b)
{
	for (uint32_t half = 0; half < 2; half++) {
		const uint64_t first = half ? LIST_HALF : 0, bytes = bytes_of_half(l, half);

		if (memcmp(a + first, b + first, bytes) == 0)
			continue;
		for (uint64_t i = first; i < first + bytes; i++)
			if (a[i] != b[i])
				return i;
	}
	return LIST_MEMORY;
}

static void
start_memory(struct lab *lab, const struct pattern *pattern, uint64_t seed, int32_t compute)
{
	const uint64_t at = seed * 2654435761u % (LIST_MEMORY / 4 / 16) * 16;
	const void *from = compute == HONE_DTYPE_BF16 ? (const void *)(pattern->bf16 + at)
						      : (const void *)(pattern->f32 + at);

	memcpy(lab->begin, from, LIST_HALF);
	memcpy(lab->begin + LIST_HALF, pattern->f32 + at, LIST_MEMORY - LIST_HALF);
	memcpy(lab->memory, lab->begin, LIST_MEMORY);
}

static float
element(int32_t dtype, const uint8_t *at)
{
	uint16_t h;
	float f;

	if (dtype == HONE_DTYPE_BF16) {
		memcpy(&h, at, sizeof h);
		return hone_bf16_to_f32(h);
	}
	memcpy(&f, at, sizeof f);
	return f;
}

/* Whether all live elements are below TAME; *rms of them. */
static bool
is_tame(const struct hone_operand *o, const struct hone_run *run, double *rms)
{
	const int64_t n = hone_operand_rows(o, run) * hone_operand_row_elems(o);
	const int64_t size = hone_dtype_bytes(o->dtype);
	const uint8_t *at = hone_operand_host(o, run);
	double square = 0.0;

	for (int64_t i = 0; i < n; i++, at += size) {
		const float v = element(o->dtype, at);

		if (!(fabsf(v) < (float)TAME))
			return false;
		square += (double)v * (double)v;
	}
	*rms = sqrt(square / (double)(n ? n : 1));
	return true;
}

/* ---- running ---- */

static void
submit(const struct ops_device *device, const struct hone_command *c, uint32_t n, uint32_t stride,
	const struct hone_run *run)
{
	struct hone_error err = {0};

	if (device->vt->submit(device->device, c, n, stride, run, &err) ||
		device->vt->wait(device->device, &err))
		fail_msg("%s", err.text);
}

/* One command by itself, on one thread; not kept where its numbers leave what can be compared. */
static bool
keep(void *ctx, struct random_list *l, struct list_item *item)
{
	struct lab *lab = ctx;
	const struct ops_device *device = &lab->device[0];
	const struct hone_run run = random_list_run(l);
	struct hone_error err = {0};
	bool tame = true;
	double unused;

	if (device->vt->supports(device->device, &item->c, &err))
		fail_msg("seed %llu, %s: %s", (unsigned long long)l->seed, item->c.name, err.text);
	for (uint32_t i = 0; i < item->c.n_in; i++)
		tame = tame && (item->in[i].storage || is_tame(&item->in[i], &run, &unused));
	for (uint32_t i = 0; i < item->c.n_out && item->c.flags; i++)
		tame = tame && is_tame(&item->out[i], &run, &unused);
	if (!tame)
		return false;
	copy(l, lab->single, lab->memory);
	submit(device, &item->c, 1, sizeof item->c, &run);
	for (uint32_t i = 0; i < item->c.n_out; i++)
		tame = tame && is_tame(&item->out[i], &run, &item->rms[i]);
	if (!tame)
		copy(l, lab->memory, lab->single);
	return tame;
}

/* Notes for each two bytes how large the numbers are that were written there last; < 0 = none
 * were. */
static void
note_scales(const struct random_list *l, float *scale)
{
	const struct hone_run run = random_list_run(l);

	for (uint64_t i = 0; i < LIST_MEMORY / 2; i++)
		scale[i] = -1.0f;
	for (uint32_t i = 0; i < l->n; i++) {
		for (uint32_t o = 0; o < l->item[i].c.n_out; o++) {
			const struct hone_operand *out = &l->item[i].out[o];
			const uint64_t at = out->offset + hone_operand_skip(out, &run);
			const uint64_t bytes = (uint64_t)(hone_operand_rows(out, &run) *
				hone_operand_row_elems(out) * hone_dtype_bytes(out->dtype));

			for (uint64_t k = at / 2; k < (at + bytes) / 2; k++)
				scale[k] = (float)l->item[i].rms[o];
		}
	}
}

/* Of a list that joins, the first byte of a number that is far off; LIST_MEMORY = none. */
static uint64_t
find_far(const struct random_list *l, const float *scale, const uint8_t *got, const uint8_t *want)
{
	const double tolerance = l->compute == HONE_DTYPE_BF16 ? TOLERANCE_BF16 : TOLERANCE_F32;

	for (uint32_t half = 0; half < 2; half++) {
		const int32_t dtype = half ? HONE_DTYPE_F32 : l->compute;
		const uint64_t first = half ? LIST_HALF : 0, end = first + bytes_of_half(l, half);
		const uint64_t size = (uint64_t)hone_dtype_bytes(dtype);

		for (uint64_t i = first; i < end; i += size) {
			double w, far;

			if (memcmp(got + i, want + i, size) == 0)
				continue;
			w = (double)element(dtype, want + i);
			far = fabs((double)element(dtype, got + i) - w);
			if (!(far <= tolerance * (fabs(w) + (double)scale[i / 2])) ||
				scale[i / 2] < 0)
				return i;
		}
	}
	return LIST_MEMORY;
}

/* The commands in one submission, on memory as it was. */
static void
run_at_once(const struct lab *lab, const struct random_list *l, int32_t threads)
{
	const struct hone_run run = random_list_run(l);

	copy(l, lab->memory, lab->begin);
	submit(&lab->device[threads - 1], &l->item[0].c, l->n, sizeof l->item[0], &run);
}

static bool
report(const struct random_list *l, const char *what, int32_t path, int32_t threads, uint64_t at)
{
	if (at == LIST_MEMORY)
		return true;
	print_error("%s: path %s, %d threads, byte %llu differs\n", what, cpu_host_path(path),
		threads, (unsigned long long)at);
	random_list_print(l);
	return false;
}

/* One list, by itself and at once; false with a message where they differ. */
static bool
try_list(struct lab *lab, const struct pattern *pattern, uint64_t seed, int32_t path)
{
	static float scale[LIST_MEMORY / 2];
	struct random_list l;
	uint64_t at;

	random_list_begin(&l, seed, lab->memory);
	l.keep = keep;
	l.ctx = lab;
	start_memory(lab, pattern, seed, l.compute);
	random_list_draw(&l);
	if (l.n == 0)
		return true;
	copy(&l, lab->single, lab->memory);
	run_at_once(lab, &l, 1);
	if (l.joins)
		note_scales(&l, scale);
	at = l.joins ? find_far(&l, scale, lab->memory, lab->single)
		     : find_other(&l, lab->memory, lab->single);
	if (!report(&l, "at once", path, 1, at))
		return false;
	copy(&l, lab->first, lab->memory);
	for (int32_t threads = 2; threads <= THREADS; threads++) {
		run_at_once(lab, &l, threads);
		at = find_other(&l, lab->memory, lab->first);
		if (!report(&l, "threads", path, threads, at))
			return false;
	}
	return true;
}

/* ---- tests ---- */

struct ask {
	uint64_t seed, n; /* lists, from a seed */
	int32_t path;     /* -1 = each */
};

static uint8_t *
memory_make(void)
{
	uint8_t *memory = aligned_alloc(LIST_ALIGN, LIST_MEMORY + LIST_STORED);

	assert_non_null(memory);
	for (uint64_t i = 0; i < LIST_MEMORY + LIST_STORED; i++)
		memory[i] = (uint8_t)hn_rng_below(13, 0, i, 0, 256);
	return memory;
}

/* Commands that were run together although one overwrites what another still reads; work of
 * threads that depends on their number; a write beside an operand. */
static void
test_lists_at_once_give_the_memory_of_single_commands(void **state)
{
	const struct ask *ask = *state;
	struct pattern *pattern = malloc(sizeof *pattern);
	struct lab lab = {.memory = memory_make(),
		.begin = memory_make(),
		.single = memory_make(),
		.first = memory_make()};
	int failures = 0;

	assert_non_null(pattern);
	pattern_fill(pattern);
	/* auto is one of the others */
	for (int32_t path = 1; path < CPU_PATHS; path++) {
		if ((ask->path >= 0 && ask->path != path) || !lab_open(&lab, path))
			continue;
		for (uint64_t i = 0; i < ask->n && failures < FAILURES_MAX; i++)
			failures += !try_list(&lab, pattern, ask->seed + i, path);
		lab_close(&lab);
	}
	free(lab.memory);
	free(lab.begin);
	free(lab.single);
	free(lab.first);
	free(pattern);
	assert_int_equal(failures, 0);
}

int
main(int argc, char **argv)
{
	struct ask ask = {.n = place_is_instrumented() ? LISTS_INSTRUMENTED : LISTS, .path = -1};
	const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(
		test_lists_at_once_give_the_memory_of_single_commands, &ask)};

	if (argc > 1) {
		ask.seed = strtoull(argv[1], NULL, 10);
		ask.n = 1;
	}
	for (int32_t i = 0; argc > 2 && i < CPU_PATHS; i++)
		if (strcmp(argv[2], cpu_host_path(i)) == 0)
			ask.path = i;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
