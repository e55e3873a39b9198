/*
 * engine.c - placing weights and parameters, and sharing one arena among programs.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "graph/engine.h"
#include "model/recode.h"

/* The form that this engine keeps a weight in; NULL: the file's. */
static const struct hn_form *
kept_form(const struct hn_engine *engine, uint32_t weight)
{
	return engine->is_as_stored ? NULL : engine->model->weights[weight].kept;
}

/* What programs must know of stored weights before any is placed: shape, type, format.
 * The bytes follow in hn_engine_allocate, so `hone plan` needs no memory for them. */
static void
describe_weights(struct hn_engine *engine)
{
	const struct hn_model *model = engine->model;
	const uint32_t parts = model->kept.storage ? model->kept.storage->n_parts - 1 : 0;

	engine->weights = hn_alloc((model->n_weights + 1u) * sizeof *engine->weights);
	engine->copied = hn_alloc((model->n_weights + 1u) * sizeof *engine->copied);
	engine->part_offset =
		hn_alloc((model->n_weights * parts + 1u) * sizeof *engine->part_offset);
	for (uint32_t i = 0; i < model->n_weights; i++) {
		const struct hn_weight *weight = &model->weights[i];
		const struct hn_form *kept = kept_form(engine, i);

		engine->weights[i] =
			(struct hn_weight_ref){.dtype = kept ? kept->dtype : weight->dtype,
				.rank = weight->rank,
				.storage = kept ? kept->storage : weight->storage,
				.storage_self = kept ? kept->storage_self : weight->storage_self};
		if (kept && parts)
			engine->weights[i].part_offset = engine->part_offset + (size_t)i * parts;
		memcpy(engine->weights[i].dim, weight->dim, sizeof weight->dim);
	}
}

/* Offsets of parameters are in bytes of the statistics type here, and in elements in
 * their list: values, gradients and moments are of one type and layout. */
void
hn_engine_init(struct hn_engine *engine, const struct hn_model *model,
	const struct hn_params *params, const struct hn_device *devices, uint32_t n_devices,
	int32_t compute)
{
	memset(engine, 0, sizeof *engine);
	engine->model = model;
	engine->params = params;
	engine->devices = devices;
	engine->n_devices = n_devices;
	engine->compute = compute;
	engine->stat = compute == HONE_DTYPE_F64 ? HONE_DTYPE_F64 : HONE_DTYPE_F32;
	describe_weights(engine);
	engine->is_raw = hn_alloc(HN_MEMORY_KINDS * sizeof *engine->is_raw);
	memset(engine->is_raw, 0, HN_MEMORY_KINDS * sizeof *engine->is_raw);
	engine->param_refs = hn_alloc((params->n + 1u) * sizeof *engine->param_refs);
	for (uint32_t i = 0; i < params->n; i++)
		engine->param_refs[i].offset =
			params->list[i].offset * (uint64_t)hone_dtype_bytes(engine->stat);
	engine->tables = (struct hn_tables){
		engine->weights, model->n_weights, engine->param_refs, params->n};
}

void
hn_engine_use_file(struct hn_engine *engine)
{
	HONE_BUG_ON(engine->n_programs || engine->is_allocated);
	free(engine->weights);
	free(engine->copied);
	free(engine->part_offset);
	engine->is_as_stored = true;
	describe_weights(engine);
	engine->tables.weights = engine->weights;
}

/* Programs first, as they hold buffers of their own on the same devices. */
void
hn_engine_fini(struct hn_engine *engine)
{
	const struct hn_device *first = engine->devices;

	for (uint32_t i = 0; i < engine->n_programs; i++)
		hn_program_fini(engine->programs[i]);
	for (int kind = 0; kind < HN_MEMORY_KINDS; kind++)
		if (engine->buffers[kind])
			first->vt->buffer_destroy(first->device, engine->buffers[kind]);
	for (uint32_t i = 0; engine->copied && i < engine->model->n_weights; i++)
		if (engine->copied[i])
			first->vt->buffer_destroy(first->device, engine->copied[i]);
	free(engine->weights);
	free(engine->copied);
	free(engine->part_offset);
	free(engine->param_refs);
	free(engine->is_raw);
	memset(engine, 0, sizeof *engine);
}

/* Whether gradients and moments need memory is read off the outputs of the programs: an
 * engine that only evaluates has neither. */
enum hone_status
hn_engine_add(struct hn_engine *engine, struct hn_program *program, const char *name,
	struct hn_graph *graph, int64_t chunk_rows, struct hone_error *err)
{
	enum hone_status st;

	HONE_BUG_ON(engine->n_programs == HN_MAX_PROGRAMS || engine->is_allocated);
	st = hn_program_plan(program, name, graph, chunk_rows, err);
	engine->programs[engine->n_programs++] = program;
	if (!st)
		st = hn_program_compile(
			program, &engine->tables, engine->devices, engine->n_devices, err);
	for (uint32_t i = 0; i < program->graph.n_outputs; i++) {
		engine->has_gradients |= program->graph.outputs[i].leaf == HN_LEAF_GRAD;
		engine->has_moments |= program->graph.outputs[i].leaf == HN_LEAF_MOMENT1;
	}
	return st;
}

/* Marks the weights that some program reads. */
static void
mark_weights(const struct hn_engine *engine, bool *is_read)
{
	for (uint32_t p = 0; p < engine->n_programs; p++) {
		const struct hn_program *program = engine->programs[p];

		for (uint32_t i = 0; i < program->n_operands; i++)
			if (program->operand_places[i].kind == HN_MEMORY_WEIGHTS)
				is_read[program->operand_places[i].weight] = true;
	}
}

/* Programs run one after the other, so they share one arena and one set of states, as
 * large as the largest asks for; columns are filled by the host and belong to each
 * program. */
void
hn_engine_bytes(const struct hn_engine *engine, uint64_t bytes[HN_MEMORY_KINDS])
{
	const uint64_t params =
		(uint64_t)(engine->params->n_elems * hone_dtype_bytes(engine->stat));
	bool *is_read = hn_alloc(engine->model->n_weights + 1u);

	memset(bytes, 0, HN_MEMORY_KINDS * sizeof *bytes);
	memset(is_read, 0, engine->model->n_weights + 1u);
	for (uint32_t i = 0; i < engine->n_programs; i++) {
		const struct hn_program *program = engine->programs[i];

		if (program->arena_bytes > bytes[HN_MEMORY_ARENA])
			bytes[HN_MEMORY_ARENA] = program->arena_bytes;
		if (program->state_bytes > bytes[HN_MEMORY_STATES])
			bytes[HN_MEMORY_STATES] = program->state_bytes;
		bytes[HN_MEMORY_COLUMNS] += program->column_bytes;
	}
	bytes[HN_MEMORY_PARAMS] = params;
	bytes[HN_MEMORY_GRADS] = engine->has_gradients ? params : 0;
	bytes[HN_MEMORY_MOMENT1] = bytes[HN_MEMORY_MOMENT2] = engine->has_moments ? params : 0;
	mark_weights(engine, is_read);
	for (uint32_t i = 0; i < engine->model->n_weights; i++) {
		const struct hn_weight *weight = &engine->model->weights[i];

		if (is_read[i] && kept_form(engine, i))
			bytes[HN_MEMORY_KEPT] += hn_kept_bytes(weight);
		else if (is_read[i] && weight->tensor)
			bytes[HN_MEMORY_WEIGHTS] += weight->tensor->n_bytes;
	}
	free(is_read);
}

/* Reading a page of a mapped file maps those around it that are in memory, in windows of this
 * many bytes at addresses that are multiples of it. */
#define FAULT_AROUND UINT64_C(65536)

/* Marks the windows of a map that a tensor lies in. */
static void
mark_windows(const struct hn_map *map, const struct hn_tensor_info *tensor, bool *is_held)
{
	const uint64_t base = (uint64_t)(uintptr_t)map->bytes / FAULT_AROUND;
	const uint64_t from = (uint64_t)(uintptr_t)tensor->bytes;

	for (uint64_t w = from / FAULT_AROUND;
		tensor->n_bytes && w <= (from + tensor->n_bytes - 1) / FAULT_AROUND; w++)
		is_held[w - base] = true;
}

/* Bytes of the marked windows that are of the map: its first and last may reach beyond it. */
static uint64_t
held_bytes(const struct hn_map *map, const bool *is_held, uint64_t n)
{
	const uint64_t begin = (uint64_t)(uintptr_t)map->bytes, end = begin + map->size;
	uint64_t sum = 0;

	for (uint64_t w = 0; w < n; w++) {
		const uint64_t from = (begin / FAULT_AROUND + w) * FAULT_AROUND;
		const uint64_t to = from + FAULT_AROUND;

		if (is_held[w])
			sum += (to < end ? to : end) - (from > begin ? from : begin);
	}
	return sum;
}

uint64_t
hn_engine_mapped_bytes(const struct hn_engine *engine)
{
	const struct hn_tensor_file *file = &engine->model->checkpoint.tensors;
	bool *is_read = hn_alloc(engine->model->n_weights + 1u);
	uint64_t sum = 0;

	memset(is_read, 0, engine->model->n_weights + 1u);
	mark_weights(engine, is_read);
	for (uint32_t m = 0; m < file->n_maps; m++) {
		const uint64_t n = file->maps[m].size / FAULT_AROUND + 2;
		bool *is_held = hn_alloc(n);

		memset(is_held, 0, n);
		for (uint32_t i = 0; i < engine->model->n_weights; i++) {
			const struct hn_tensor_info *tensor = engine->model->weights[i].tensor;

			if (is_read[i] && tensor && tensor->map_idx == m && !kept_form(engine, i))
				mark_windows(&file->maps[m], tensor, is_held);
		}
		sum += held_bytes(&file->maps[m], is_held, n);
		free(is_held);
	}
	free(is_read);
	return sum;
}

/* Programs run one after the other in the same scratch. */
uint64_t
hn_engine_scratch_bytes(const struct hn_engine *engine)
{
	uint64_t most = 0;

	for (uint32_t i = 0; i < engine->n_programs; i++) {
		const uint64_t bytes = hn_program_scratch(engine->programs[i]);

		most = bytes > most ? bytes : most;
	}
	return most;
}

/* Lends a stored weight to the device, or copies it where it cannot be lent. */
static enum hone_status
place_weight(struct hn_engine *engine, uint32_t i, struct hone_error *err)
{
	const struct hn_device *device = engine->devices;
	const struct hn_tensor_info *tensor = engine->model->weights[i].tensor;
	hone_buffer buffer = NULL;
	enum hone_status st;

	if (!tensor || kept_form(engine, i))
		return HONE_OK;
	if (!(tensor->flags & HN_TENSOR_MISALIGNED) &&
		!device->vt->buffer_import(device->device, (void *)(uintptr_t)tensor->bytes,
			tensor->n_bytes, &buffer, NULL)) {
		engine->weights[i].buffer = buffer;
		return HONE_OK;
	}
	st = device->vt->buffer_create(device->device, tensor->n_bytes, &buffer, err);
	if (!st)
		st = device->vt->upload(
			device->device, buffer, 0, tensor->bytes, tensor->n_bytes, err);
	engine->copied[i] = engine->weights[i].buffer = buffer;
	engine->copied_bytes += tensor->n_bytes;
	hn_tensor_file_forget(&engine->model->checkpoint.tensors);
	return st;
}

/* Encodes one weight and puts it at `at` of the memory of kept weights.  The file's pages go
 * when they were read. */
static enum hone_status
keep_weight(struct hn_engine *engine, uint32_t i, struct hn_recoder *recoder, uint64_t at,
	uint8_t *encoded, struct hone_error *err)
{
	const struct hn_device *device = engine->devices;
	const struct hn_weight *weight = &engine->model->weights[i];
	const uint32_t parts = weight->kept->storage ? weight->kept->storage->n_parts - 1 : 0;
	hone_buffer buffer = engine->buffers[HN_MEMORY_KEPT];
	enum hone_status st = hn_weight_recode(recoder, engine->model, weight, encoded, err);

	if (!st)
		st = device->vt->upload(
			device->device, buffer, at, encoded, hn_kept_bytes(weight), err);
	engine->weights[i].buffer = buffer;
	engine->weights[i].offset = at;
	for (uint32_t p = 0; p < parts; p++)
		engine->part_offset[(size_t)i * parts + p] = at + hn_kept_part(weight, p + 1);
	hn_tensor_file_forget(&engine->model->checkpoint.tensors);
	return st;
}

/* Fills the memory of kept weights, in the order of the model's list. */
static enum hone_status
keep_weights(struct hn_engine *engine, struct hone_error *err)
{
	const struct hn_model *model = engine->model;
	bool *is_read = hn_alloc(model->n_weights + 1u);
	struct hn_recoder recoder = {0};
	uint64_t at = 0, most = 0;
	enum hone_status st = HONE_OK;
	uint8_t *encoded;

	memset(is_read, 0, model->n_weights + 1u);
	mark_weights(engine, is_read);
	for (uint32_t i = 0; i < model->n_weights; i++) {
		is_read[i] = is_read[i] && kept_form(engine, i);
		if (is_read[i] && hn_kept_bytes(&model->weights[i]) > most)
			most = hn_kept_bytes(&model->weights[i]);
	}
	encoded = hn_alloc(most + 1);
	for (uint32_t i = 0; i < model->n_weights && !st; i++) {
		if (!is_read[i])
			continue;
		st = keep_weight(engine, i, &recoder, at, encoded, err);
		at += hn_kept_bytes(&model->weights[i]);
	}
	free(encoded);
	free(is_read);
	hn_recoder_fini(&recoder);
	return st;
}

/* Has no bytes unless something is kept; is written whole, so it is not cleared. */
static bool
is_weights(int kind)
{
	return kind == HN_MEMORY_WEIGHTS || kind == HN_MEMORY_KEPT;
}

/* What the first forward pass does not read. */
static bool
is_late(int kind)
{
	return kind == HN_MEMORY_GRADS || kind == HN_MEMORY_MOMENT1 || kind == HN_MEMORY_MOMENT2;
}

/* Memory of a kind that nobody uses is 64 bytes, so that every operand has a buffer.
 * What is read before it is written starts at 0; the arena never is. */
enum hone_status
hn_engine_allocate(struct hn_engine *engine, struct hone_error *err)
{
	const struct hn_device *device = engine->devices;
	enum hone_status st = HONE_OK;

	hn_engine_bytes(engine, engine->bytes);
	engine->is_allocated = true;
	for (int kind = HN_MEMORY_ARENA; kind < HN_MEMORY_KINDS && !st; kind++) {
		if (kind == HN_MEMORY_COLUMNS || is_weights(kind))
			continue;
		if (engine->bytes[kind] == 0)
			engine->bytes[kind] = 64;
		st = device->vt->buffer_create(
			device->device, engine->bytes[kind], &engine->buffers[kind], err);
		engine->is_raw[kind] = engine->clears_late && is_late(kind);
		if (!st && kind >= HN_MEMORY_STATES && !engine->is_raw[kind])
			st = hn_engine_clear(engine, kind, err);
	}
	if (!st && engine->bytes[HN_MEMORY_KEPT])
		st = device->vt->buffer_create(device->device, engine->bytes[HN_MEMORY_KEPT],
			&engine->buffers[HN_MEMORY_KEPT], err);
	if (!st)
		st = keep_weights(engine, err);
	for (uint32_t i = 0; i < engine->model->n_weights && !st; i++)
		st = place_weight(engine, i, err);
	for (uint32_t i = 0; i < engine->n_programs && !st; i++)
		st = hn_program_link(engine->programs[i], &engine->tables, engine->buffers, err);
	return st;
}

/* Given back before an export, which needs memory for whole tensors. */
void
hn_engine_release(struct hn_engine *engine)
{
	static const int kinds[] = {
		HN_MEMORY_ARENA, HN_MEMORY_GRADS, HN_MEMORY_MOMENT1, HN_MEMORY_MOMENT2};
	const struct hn_device *first = engine->devices;

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if (engine->buffers[kinds[i]])
			first->vt->buffer_destroy(first->device, engine->buffers[kinds[i]]);
		engine->buffers[kinds[i]] = NULL;
	}
}

/* ---- values in and out ---- */

/* f64 engines keep doubles; the rest of the host speaks f32, the type of files. */
enum hone_status
hn_engine_get(const struct hn_engine *engine, int32_t kind, const struct hn_param *param,
	float *out, struct hone_error *err)
{
	const struct hn_device *device = engine->devices;
	const uint64_t n = (uint64_t)param->n_elems;
	enum hone_status st;
	double *wide;

	if (engine->is_raw[kind]) {
		memset(out, 0, n * sizeof *out);
		return HONE_OK;
	}
	if (engine->stat == HONE_DTYPE_F32)
		return device->vt->download(device->device, engine->buffers[kind],
			param->offset * sizeof *out, out, n * sizeof *out, err);
	wide = hn_alloc(n * sizeof *wide);
	st = device->vt->download(device->device, engine->buffers[kind],
		param->offset * sizeof *wide, wide, n * sizeof *wide, err);
	for (uint64_t i = 0; i < n; i++)
		out[i] = (float)wide[i];
	free(wide);
	return st;
}

/* The reverse of hn_engine_get. */
enum hone_status
hn_engine_set(const struct hn_engine *engine, int32_t kind, const struct hn_param *param,
	const float *values, struct hone_error *err)
{
	const struct hn_device *device = engine->devices;
	const uint64_t n = (uint64_t)param->n_elems;
	enum hone_status st = hn_engine_settle(engine, kind, err);
	double *wide;

	if (st)
		return st;
	if (engine->stat == HONE_DTYPE_F32)
		return device->vt->upload(device->device, engine->buffers[kind],
			param->offset * sizeof *values, values, n * sizeof *values, err);
	wide = hn_alloc(n * sizeof *wide);
	for (uint64_t i = 0; i < n; i++)
		wide[i] = (double)values[i];
	st = device->vt->upload(device->device, engine->buffers[kind], param->offset * sizeof *wide,
		wide, n * sizeof *wide, err);
	free(wide);
	return st;
}

enum hone_status
hn_engine_settle(const struct hn_engine *engine, int32_t kind, struct hone_error *err)
{
	return engine->is_raw[kind] ? hn_engine_clear(engine, kind, err) : HONE_OK;
}

/* Zeros go through upload, because a device need not be able to fill memory. */
enum hone_status
hn_engine_clear(const struct hn_engine *engine, int32_t kind, struct hone_error *err)
{
	static const uint8_t zeros[65536];
	const struct hn_device *device = engine->devices;
	enum hone_status st = HONE_OK;

	for (uint64_t at = 0; at < engine->bytes[kind] && !st; at += sizeof zeros) {
		const uint64_t left = engine->bytes[kind] - at;

		st = device->vt->upload(device->device, engine->buffers[kind], at, zeros,
			left < sizeof zeros ? left : sizeof zeros, err);
	}
	engine->is_raw[kind] = engine->is_raw[kind] && st;
	return st;
}

/* By way of the host, as devices copy nothing among their own buffers. */
static enum hone_status
copy_bytes(const struct hn_engine *engine, uint64_t from, uint64_t to, uint64_t n,
	struct hone_error *err)
{
	const struct hn_device *device = engine->devices;
	hone_buffer buffer = engine->buffers[HN_MEMORY_STATES];
	enum hone_status st = HONE_OK;
	uint8_t block[16384];

	for (uint64_t at = 0; at < n && !st; at += sizeof block) {
		const uint64_t some = n - at < sizeof block ? n - at : sizeof block;

		st = device->vt->download(device->device, buffer, from + at, block, some, err);
		if (!st)
			st = device->vt->upload(device->device, buffer, to + at, block, some, err);
	}
	return st;
}

enum hone_status
hn_engine_copy_rows(const struct hn_engine *engine, const struct hn_program *program, int64_t from,
	int64_t to, int64_t n, struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	for (uint32_t i = 0; i < program->graph.n_states && !st; i++) {
		const struct hn_state *state = &program->graph.states[i];
		const int64_t rows = hn_graph_value(&program->graph, state->value)->dim[0];
		const uint64_t row = state->n_bytes / (uint64_t)rows;
		const uint64_t begin = program->places[state->value].offset;

		HONE_BUG_ON(from + n > rows || to + n > rows);
		st = copy_bytes(engine, begin + (uint64_t)from * row, begin + (uint64_t)to * row,
			(uint64_t)n * row, err);
	}
	return st;
}
