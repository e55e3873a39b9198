/*
 * culprit.c - a sound adapter with an op of its own, and by -DCULPRIT_<fault> one with exactly one
 * fault in what it builds, or in how it ends.
 *
 * At the linear sites of layer 0 y += s t(x A^T) B^T with A: [4, I], B: [O, 4] and t the op
 * "culprit_twice", t(h) = 2 h, dh = 2 dy.  tests/fault/test_plugin_faults.c asks the program what it
 * says of each fault.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <hone/adapter.h>
#include <hone/custom_op.h>
#include <hone/plugin.h>

/* ---- the op ---- */

static enum hone_status
twice_infer(const void *self, uint32_t n_in, const struct hone_value *in, const void *attr,
	struct hone_value *out, struct hone_error *err)
{
	(void)self, (void)n_in, (void)attr, (void)err;
#ifdef CULPRIT_INFER_SILENT
	return HONE_EINVAL;
#endif
	out[0] = in[0];
	return HONE_OK;
}

static enum hone_status
twice_backward(const void *self, struct hone_graph *g, struct hone_custom_gradient *grad,
	struct hone_error *err)
{
	(void)self;
	if (grad->wants[0]) {
#if defined(CULPRIT_DX_SHAPE)
		grad->dx[0] = hone_sum_rows(g, grad->dy[0]);
#elif defined(CULPRIT_DX_COLS)
		grad->dx[0] = hone_slice_cols(g, grad->dy[0], 0, 3);
#elif defined(CULPRIT_DX_ID)
		grad->dx[0].id = 4000000000u;
#elif !defined(CULPRIT_DX_NONE)
		grad->dx[0] = hone_scale(g, grad->dy[0], 2.0);
#endif
	}
	return hone_graph_status(g, err);
}

static enum hone_status
twice_run(const void *self, const struct hone_command *command, const struct hone_run *run,
	struct hone_error *err)
{
	const int64_t n =
		hone_operand_rows(&command->in[0], run) * hone_operand_row_elems(&command->in[0]);
	const float *x = hone_operand_host(&command->in[0], run);
	float *y = hone_operand_host(&command->out[0], run);

	(void)self, (void)err;
#if defined(CULPRIT_RUN_SILENT)
	return HONE_EDEVICE;
#elif defined(CULPRIT_RUN_SAYS)
	return hone_fail(err, HONE_EDEVICE, "the disk drum stands still");
#elif defined(CULPRIT_RUN_SEGV)
	y = (float *)16;
#endif
	for (int64_t i = 0; i < n; i++)
		y[i] = 2.0f * x[i];
	return HONE_OK;
}

static const struct hone_op_vt twice = {.struct_size = sizeof twice,
	.flags = HONE_CUSTOM_OP_ROW_LOCAL | HONE_CUSTOM_OP_PURE,
	.min_in = 1,
	.max_in = 1,
	.n_out = 1,
	.infer = twice_infer,
	.backward = twice_backward,
	.run = twice_run};

/* ---- how it ends ---- */

#ifdef CULPRIT_STACK
static int
descend(volatile int *depth)
{
	volatile int here[256];

	here[0] = *depth + 1;
	return descend(here) + here[0];
}
#endif

static void
end(void)
{
#if defined(CULPRIT_SEGV)
	*(volatile int *)16 = 1;
#elif defined(CULPRIT_FPE) /* raised: not every processor traps a division */
	(void)raise(SIGFPE);
#elif defined(CULPRIT_ILL)
	__builtin_trap();
#elif defined(CULPRIT_ABRT)
	abort();
#elif defined(CULPRIT_STACK)
	volatile int depth = 0;

	(void)descend(&depth);
#elif defined(CULPRIT_EXIT)
	exit(0);
#endif
}

#ifdef CULPRIT_EXIT_AT_START
__attribute__((constructor)) static void
leave(void)
{
	exit(0);
}
#endif

/* ---- the adapter ---- */

static enum hone_status
culprit_declare(const void *self, const struct hone_site *site, struct hone_params *params,
	struct hone_error *err)
{
	struct hone_param_spec ab[2];

	(void)self;
#ifdef CULPRIT_DECLARE_SEGV
	*(volatile int *)16 = 1;
#endif
	if (!site || site->kind != HONE_SITE_LINEAR || site->layer != 0)
		return HONE_OK;
	ab[0] = hone_param_spec_make("A", 4, site->in_features);
	ab[0].export_name = "%s.A";
	ab[0].axis[1] = HONE_AXIS_SITE_IN;
	ab[0].init = HONE_INIT_KAIMING_UNIFORM;
	ab[1] = hone_param_spec_make("B", site->out_features, 4);
	ab[1].export_name = "%s.B";
	ab[1].axis[0] = HONE_AXIS_SITE_OUT;
	return hone_params_declare(params, site, 2, ab, err);
}

static enum hone_status
culprit_output(const void *self, const struct hone_build *at, const struct hone_site *site,
	struct hone_site_io *io, struct hone_error *err)
{
	struct hone_graph *g = at->graph;
	hone_node h;

	(void)self;
	if (site->kind != HONE_SITE_LINEAR || site->layer != 0)
		return HONE_OK;
	end();
	h = hone_matmul_nt(g, io->x, hone_param(at, site, "A"));
	h = hone_node_make(g, hone_custom_op(g, "culprit_twice"), h, hone_node_none(),
		hone_node_none(), NULL, 0);
	io->y = hone_add(g, io->y, hone_matmul_nt(g, h, hone_param(at, site, "B")));
#if defined(CULPRIT_LINEAR)
	io->y = hone_linear(at, site, io->x);
#elif defined(CULPRIT_NORM)
	io->y = hone_norm(at, site, io->y, 1e-6);
#elif defined(CULPRIT_EMBED)
	io->y = at->vt->embed(at, site, (hone_stream){1}, io->x);
#elif defined(CULPRIT_HIDDEN)
	io->y = at->vt->hidden(at, site, (hone_stream){1}, io->y);
#elif defined(CULPRIT_HEAD)
	io->y = at->vt->head(at, "lm", io->x);
#elif defined(CULPRIT_ATTENTION)
	{
		struct hone_attention_io attention = {
			.struct_size = sizeof attention, .q = io->y, .k = io->y, .v = io->y};

		io->y = at->vt->attention(at, site, &attention);
	}
#elif defined(CULPRIT_STOP_ID)
	io->y = hone_stop_gradient(g, (hone_node){4000000000u});
#elif defined(CULPRIT_DROPOUT_ID)
	io->y = hone_dropout(at, (hone_node){4000000000u}, 0.5, "y");
#elif defined(CULPRIT_SILENT)
	return HONE_EINVAL;
#endif
	return hone_graph_status(g, err);
}

#ifdef CULPRIT_HIDDEN_ID
static enum hone_status
culprit_hidden(const void *self, const struct hone_build *at, const struct hone_site *site,
	hone_node *h, struct hone_error *err)
{
	(void)self, (void)at, (void)site, (void)err;
	h->id = 4000000000u;
	return HONE_OK;
}
#endif

static const struct hone_adapter_vt adapter = {
	.struct_size = sizeof adapter,
	.declare = culprit_declare,
#ifdef CULPRIT_HIDDEN_ID
	.hidden = culprit_hidden,
#endif
	.output = culprit_output,
};

static const struct hone_factory adapter_factory = {.struct_size = sizeof adapter_factory,
	.role = HONE_ROLE_ADAPTER,
	.name = "culprit",
	.summary = "does what it should not",
	.vt = &adapter};

static const struct hone_factory op_factory = {.struct_size = sizeof op_factory,
	.role = HONE_ROLE_OP,
	.name = "culprit_twice",
	.summary = "2 x",
	.vt = &twice};

static const struct hone_factory *const factories[] = {&adapter_factory, &op_factory};

HONE_PLUGIN(culprit, "0.1.0", "Apache-2.0", factories);
