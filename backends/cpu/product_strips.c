/*
 * product_strips.c - y (+)= a^T b with a narrow side: the gradients of adapters.
 *
 *     dA = dU^T x      dB = dy^T U       of up to 32 rows or columns
 *
 * The narrow operand is packed in K order, 8 of its columns a pass; the wide one is read in place
 * and paired in registers, a strip of columns at a time, which makes a piece.
 *
 * Nobody needs a gradient before the end of the backward.  So a product is laid aside; one whose
 * wide operand waits already joins it (q, k and v, gate and up share their x: "stacked", each
 * strip is read once for all), and what waits runs beside the next general product (product.c),
 * at the end of each thread's pieces: no time when all threads must meet, and something to do
 * for who has finished first.  A job that expects another of its kind waits longer.  A command
 * that touches what a waiting one reads or writes makes all of them run before it, so that the
 * results are those of the list in order; and no bit depends on when a strip runs.
 *
 * Flops 2 m n k; bytes of the wide operand once.  Twin: matmul of reference.
 */
#include <stdlib.h>

#include "joined.h"
#include "product.h"

#define JOBS       4
#define TOGETHER   4 /* products of a job */
#define PASSES     8 /* of all products of a job */
#define STRIP_MAX  128
#define LOOK_AHEAD 24 /* commands to look through for another of the kind */

struct strip_product {
	const struct hone_command *c;
	struct cpu_product p;
	int64_t first_pass, narrow_n; /* columns of the narrow operand */
};

struct strip_job {
	struct strip_product product[TOGETHER];
	int64_t n, n_passes;
	struct cpu_mat wide;
	int64_t ld, length, k, steps;     /* of wide: of a row; columns; rows; words along them */
	int64_t strip;                    /* columns of a piece */
	int32_t bf16, turned;             /* turned: the wide operand is a, strips are rows of y */
	int64_t end;                      /* pieces of this job and of those before it */
	const struct hone_command *other; /* the last of the kind that will come, NULL = none */
	struct cpu_scratch narrow;        /* the narrow operands: [n_passes][steps][HN_THIN] */
};

struct cpu_strips {
	struct strip_job job[JOBS];
	const struct hone_run *run;
	int32_t n, n_taken; /* that wait; that run beside a product now */
};

/* ---- Pieces ---- */

/* The columns [at, at + n) of the wide operand in y, from the sums of a pass. */
static void
finish_strip(const struct hn_cpu_kernels *k, const struct strip_job *job,
	const struct strip_product *of, int64_t first, int64_t count, const float *tile,
	float *turned, int64_t at, int64_t n)
{
	const struct cpu_product *p = &of->p;
	const int64_t y = job->turned ? at * p->ldy + first : first * p->ldy + at;
	struct hn_finish f = {.m = count,
		.n = n,
		.tile = tile,
		.ldt = job->strip,
		.y = cpu_at(&p->y, y),
		.ldy = p->ldy,
		.ldc = p->ldy,
		.y_dtype = p->y.dtype,
		.c_dtype = p->y.dtype};

	if (job->turned) {
		for (int64_t r = 0; r < count; r++)
			for (int64_t i = 0; i < n; i++)
				turned[i * HN_THIN + r] = tile[r * job->strip + i];
		f.m = n;
		f.n = count;
		f.tile = turned;
		f.ldt = HN_THIN;
	}
	f.c = p->accumulate ? f.y : NULL;
	k->finish(&f);
}

static void
run_strip(const struct cpu_device *d, const struct strip_job *job, int64_t i)
{
	const int64_t at = i * job->strip, n = cpu_min(job->strip, job->length - at);
	float tile[HN_THIN * STRIP_MAX], turned[HN_THIN * STRIP_MAX];

	for (int64_t j = 0; j < job->n; j++) {
		const struct strip_product *of = &job->product[j];

		for (int64_t first = 0; first < of->narrow_n; first += HN_THIN) {
			const int64_t pass = of->first_pass + first / HN_THIN;
			const struct hn_thin thin = {.bf16 = job->bf16,
				.dtype = job->wide.dtype,
				.a = (const float *)(const void *)job->narrow.memory +
					pass * job->steps * HN_THIN,
				.b = cpu_at(&job->wide, at),
				.ldb = job->ld,
				.n = n,
				.k = job->k,
				.c = tile,
				.ldc = job->strip};

			d->k->thin(&thin);
			finish_strip(d->k, job, of, first, cpu_min(HN_THIN, of->narrow_n - first),
				tile, turned, at, n);
		}
	}
}

void
cpu_strips_piece(const struct cpu_device *d, int64_t i)
{
	const struct strip_job *job = d->strips->job;

	while (i >= job->end)
		job++;
	run_strip(d, job, i - (job == d->strips->job ? 0 : job[-1].end));
}

static void
piece(void *ctx, int64_t i, int32_t worker)
{
	(void)worker;
	cpu_strips_piece(ctx, i);
}

/* ---- What waits ---- */

/* Numbers the pieces of the first n jobs. */
static int64_t
number_pieces(struct cpu_strips *s, int32_t n)
{
	int64_t end = 0;

	for (int32_t i = 0; i < n; i++) {
		end += cpu_ceil(s->job[i].length, s->job[i].strip);
		s->job[i].end = end;
	}
	return end;
}

/* The first n jobs have run: the others move up, and keep the memory that they have. */
static void
drop(struct cpu_strips *s, int32_t n)
{
	for (int32_t i = 0; i + n < s->n; i++) {
		const struct strip_job done = s->job[i];

		s->job[i] = s->job[i + n];
		s->job[i + n] = done;
	}
	s->n -= n;
}

/* What a product has taken along has run. */
static void
settle(struct cpu_strips *s)
{
	drop(s, s->n_taken);
	s->n_taken = 0;
}

void
cpu_strips_flush(struct cpu_device *d)
{
	struct cpu_strips *s = d->strips;

	settle(s);
	if (s->n)
		cpu_run(d, number_pieces(s, s->n), piece, d);
	s->n = 0;
}

void
cpu_strips_yield(const struct cpu_call *call, const struct hone_command *c)
{
	struct cpu_strips *s = call->d->strips;

	settle(s);
	for (int32_t i = 0; i < s->n; i++) {
		for (int64_t j = 0; j < s->job[i].n; j++)
			if (!cpu_may_pass(c, s->job[i].product[j].c, call->run)) {
				cpu_strips_flush(call->d);
				return;
			}
		if (s->job[i].other == c)
			s->job[i].other = NULL;
	}
}

/* Jobs that expect no other, moved to the front. */
int64_t
cpu_strips_take(struct cpu_device *d)
{
	struct cpu_strips *s = d->strips;

	for (int32_t i = 0; i < s->n; i++) {
		const struct strip_job job = s->job[i];

		if (job.other)
			continue;
		s->job[i] = s->job[s->n_taken];
		s->job[s->n_taken++] = job;
	}
	return number_pieces(s, s->n_taken);
}

/* ---- Laying aside ---- */

static int
is_narrow_tn(const struct hone_command *c)
{
	return c->op == HONE_OP_MATMUL && !c->in[0].storage && !c->in[1].storage &&
		((const struct hone_attr_matmul *)c->attr)->form == CPU_TN;
}

static struct strip_job
job_of(const struct cpu_device *d, const struct cpu_product *p)
{
	const int64_t panel = 2 * d->k->lanes;
	struct strip_job job = {.bf16 = cpu_product_bf16(d, p), .k = p->k, .turned = p->m > p->n};

	job.wide = job.turned ? p->a : p->b;
	job.ld = job.turned ? p->lda : p->ldb;
	job.length = job.turned ? p->m : p->n;
	job.steps = job.bf16 ? (p->k + 1) / 2 : p->k;
	job.strip = cpu_min(panel * (1 + job.length / (64 * panel)), STRIP_MAX);
	return job;
}

static int
same_wide(const struct strip_job *a, const struct strip_job *b)
{
	return a->wide.p == b->wide.p && a->wide.dtype == b->wide.dtype && a->ld == b->ld &&
		a->length == b->length && a->k == b->k && a->bf16 == b->bf16 &&
		a->turned == b->turned;
}

/* The last of the commands ahead that has this wide operand; only a guess: who does not come is
 * not waited for beyond the commands looked at. */
static const struct hone_command *
find_other(const struct cpu_call *call, const struct strip_job *job)
{
	const struct hone_command *other = NULL;

	for (uint32_t i = 0; i < call->n_later && i < LOOK_AHEAD; i++) {
		const struct hone_command *c = cpu_later(call, i);

		if (is_narrow_tn(c) &&
			hone_operand_host(&c->in[job->turned ? 0 : 1], call->run) == job->wide.p)
			other = c;
	}
	return other;
}

/* The job that the product joins, or a new one. */
static struct strip_job *
find_job(const struct cpu_call *call, const struct strip_job *as, int64_t passes)
{
	struct cpu_strips *s = call->d->strips;
	struct cpu_scratch narrow;

	for (int32_t i = 0; i < s->n; i++)
		if (s->job[i].n < TOGETHER && s->job[i].n_passes + passes <= PASSES &&
			same_wide(&s->job[i], as))
			return &s->job[i];
	if (s->n == JOBS)
		cpu_strips_flush(call->d);
	narrow = s->job[s->n].narrow;
	s->job[s->n] = *as;
	s->job[s->n].narrow = narrow;
	s->job[s->n].other = find_other(call, as);
	return &s->job[s->n++];
}

/* The narrow operand in K order, pass after pass, behind those of the job. */
static void
pack_narrow(const struct cpu_device *d, struct strip_job *job, const struct cpu_product *p)
{
	const struct cpu_mat narrow = job->turned ? p->b : p->a;
	const int64_t ld = job->turned ? p->ldb : p->lda, n = cpu_min(p->m, p->n);
	float *out = (float *)(void *)job->narrow.memory;

	for (int64_t first = 0; first < n; first += HN_THIN, job->n_passes++) {
		const struct hn_pack pack = {.bf16 = job->bf16,
			.dtype = narrow.dtype,
			.out = out + job->n_passes * job->steps * HN_THIN,
			.w = HN_THIN,
			.in = cpu_at(&narrow, first),
			.ld = ld,
			.n = cpu_min(HN_THIN, n - first),
			.k = p->k};

		d->k->pack_nn(&pack);
	}
}

/* Room for all passes at once: what is packed must not move. */
static uint64_t
narrow_bytes(const struct strip_job *job)
{
	return (uint64_t)(PASSES * job->steps * HN_THIN * 4);
}

enum hone_status
cpu_strips_put(const struct cpu_call *call, const struct cpu_product *p, struct hone_error *err)
{
	struct cpu_device *d = call->d;
	const struct strip_job as = job_of(d, p);
	const int64_t n = cpu_min(p->m, p->n);
	struct strip_job *job;
	enum hone_status st;

	if (d->is_probe) {
		for (int32_t i = 0; i < JOBS; i++)
			(void)cpu_scratch_grow(
				d, &d->strips->job[i].narrow, narrow_bytes(&as), err);
		return HONE_OK;
	}
	job = find_job(call, &as, cpu_ceil(n, HN_THIN));
	st = cpu_scratch_grow(d, &job->narrow, narrow_bytes(&as), err);
	if (st) {
		d->strips->n = 0;
		return st;
	}
	job->product[job->n++] = (struct strip_product){
		.c = call->c, .p = *p, .first_pass = job->n_passes, .narrow_n = n};
	pack_narrow(d, job, p);
	return HONE_OK;
}

struct cpu_strips *
cpu_strips_create(void)
{
	return calloc(1, sizeof(struct cpu_strips));
}

uint64_t
cpu_strips_bytes(const struct cpu_strips *s)
{
	uint64_t bytes = 0;

	for (int32_t i = 0; i < JOBS; i++)
		bytes += s->job[i].narrow.bytes;
	return bytes;
}

void
cpu_strips_destroy(struct cpu_strips *s)
{
	for (int32_t i = 0; s && i < JOBS; i++)
		free(s->job[i].narrow.memory);
	free(s);
}
