/*
 * program.c - commands from a planned graph; binding memory; running.
 *
 * After `link` everything is decided: a run fills the counts, uploads the columns, and submits
 * blocks of commands.  It allocates nothing, looks nothing up, and changes in its commands
 * only the ACCUMULATE flag of a region's sums.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "graph/program.h"

/* The graph moves in and leaves an empty one behind, so there is one owner at any time. */
enum hone_status
hn_program_plan(struct hn_program *program, const char *name, struct hn_graph *graph,
	int64_t chunk_rows, struct hone_error *err)
{
	enum hone_status st;

	memset(program, 0, sizeof *program);
	program->graph = *graph;
	memset(graph, 0, sizeof *graph);
	program->name = name;
	program->chunk_rows = chunk_rows;
	st = hn_program_order(program, err);
	return st ? st : hn_program_place(program, err);
}

/* NULL-safe in every part: a program that failed halfway is finished like a whole one. */
void
hn_program_fini(struct hn_program *program)
{
	if (program->column_buffer && program->column_buffer != program->columns)
		program->devices[0].vt->buffer_destroy(
			program->devices[0].device, program->column_buffer);
	if (program->columns)
		hn_pages_free(program->columns, program->column_bytes);
	free(program->order);
	free(program->unit_space);
	free(program->places);
	free(program->commands);
	free(program->operands);
	free(program->operand_places);
	free(program->blocks);
	free(program->live);
	free(program->begin);
	hn_graph_fini(&program->graph);
	memset(program, 0, sizeof *program);
}

/* ---- compile ---- */

/* An operand as the device will see it. Inside a region axis 0 of a computed value is
 * one chunk; a column of the region's rows lies whole in memory and is read through a
 * window that moves with the chunk. Stored weights have their format's type instead of
 * the graph's. */
static void
fill_operand(const struct hn_program *p, const struct hn_tables *tables, uint32_t value,
	uint32_t region, struct hone_operand *operand, struct hn_location *place)
{
	const struct hn_value *v = &p->graph.values[value];
	const struct hn_node *node = &p->graph.nodes[v->node];

	memset(operand, 0, sizeof *operand);
	memset(place, 0, sizeof *place);
	if (!value)
		return;
	*place = p->places[value];
	operand->dtype = v->dtype;
	operand->rank = v->rank;
	operand->space = v->space;
	memcpy(operand->dim, v->dim, sizeof operand->dim);
	operand->dim[0] = hn_program_rows(p, value);
	if (region && v->space == region && node->leaf)
		operand->flags |= HONE_OPERAND_WINDOW;
	if (node->leaf == HN_LEAF_WEIGHT) {
		const struct hn_weight_ref *w = &tables->weights[node->leaf_index];

		operand->dtype = w->dtype;
		operand->storage = w->storage;
		operand->storage_self = w->storage_self;
		operand->part_offset = w->part_offset;
	}
}

/* Upper bound: which stores need an addition is known when their commands are made. */
static uint32_t
count_extra_adds(const struct hn_program *p)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->graph.n_outputs; i++)
		n += p->graph.outputs[i].leaf != HN_LEAF_NONE;
	return n;
}

/* The next command, with its operands beside each other in one array: inputs, then
 * outputs. */
static struct hone_command *
next_command(struct hn_program *p, uint32_t n_in, uint32_t n_out)
{
	struct hone_command *command = &p->commands[p->n_commands++];

	memset(command, 0, sizeof *command);
	command->n_in = n_in;
	command->n_out = n_out;
	command->in = &p->operands[p->n_operands];
	command->out = command->in + n_in;
	p->n_operands += n_in + n_out;
	return command;
}

/* Fills an operand of a command and remembers where it lies; buffers come at link time. */
static void
put_operand(struct hn_program *p, const struct hn_tables *tables, const struct hone_operand *at,
	uint32_t value, uint32_t region)
{
	const size_t i = (size_t)(at - p->operands);

	fill_operand(p, tables, value, region, &p->operands[i], &p->operand_places[i]);
}

/* One node, one command. ACCUMULATE is for results that lie in a gradient's own memory,
 * which other micro-batches have added to before. */
static void
compile_node(struct hn_program *p, const struct hn_tables *tables, uint32_t position)
{
	const struct hn_node *node = &p->graph.nodes[p->order[position]];
	const uint32_t region = p->unit_space[position];
	struct hone_command *command = next_command(p, node->n_in, node->n_out);

	command->op = node->op;
	command->attr = node->attr;
	command->attr_size = node->attr_size;
	command->name = node->name ? node->name : "";
	for (uint32_t k = 0; k < node->n_in; k++)
		put_operand(p, tables, &command->in[k], node->in[k], region);
	for (uint32_t k = 0; k < node->n_out; k++) {
		const struct hn_output *store = hn_program_store_of(p, node->first_out + k);

		put_operand(p, tables, &command->out[k], node->first_out + k, region);
		if (store && store->accumulates &&
			p->places[node->first_out + k].kind == HN_MEMORY_GRADS)
			command->flags |= HONE_COMMAND_ACCUMULATE;
	}
}

/* gradient += value, for contributions that do not lie in the gradient's memory already. */
static void
compile_extra_adds(struct hn_program *p, const struct hn_tables *tables)
{
	static const struct hone_attr_binary add = {HONE_BINARY_ADD, 0};

	for (uint32_t i = 0; i < p->graph.n_outputs; i++) {
		const struct hn_output *output = &p->graph.outputs[i];
		struct hone_command *command;

		if (!output->leaf || !output->accumulates ||
			p->places[output->value].kind == HN_MEMORY_GRADS)
			continue;
		command = next_command(p, 2, 1);
		command->op = HONE_OP_BINARY;
		command->attr = &add;
		command->attr_size = sizeof add;
		command->name = "gradient";
		for (uint32_t k = 0; k < 3; k++) {
			const size_t at = (size_t)(&command->in[k] - p->operands);

			put_operand(p, tables, &command->in[k], output->value, 0);
			if (k != 1) {
				p->operands[at].dtype = p->graph.stat;
				p->operand_places[at] = (struct hn_location){
					.kind = HN_MEMORY_GRADS, .weight = output->leaf_index};
			}
		}
	}
}

/* The first device that can. Why the first one could not is kept, once, for the report:
 * the reasons of a thousand commands are mostly the same. */
static enum hone_status
choose_device(struct hn_program *p, const struct hone_command *command, uint32_t *device,
	struct hone_error *err)
{
	for (uint32_t d = 0; d < p->n_devices; d++) {
		struct hone_error why = {0};

		if (!p->devices[d].vt->supports(p->devices[d].device, command, &why)) {
			*device = d;
			return HONE_OK;
		}
		if (d == 0 && command->op < HONE_OP_CUSTOM && !p->fallback_reason[0])
			(void)snprintf(
				p->fallback_reason, sizeof p->fallback_reason, "%.200s", why.text);
	}
	return hone_fail(err, HONE_EUNSUPPORTED, "no device runs %s at %s",
		hn_op_of(&p->graph, command->op)->name, command->name);
}

/* Groups commands into blocks: equal region and device. */
static enum hone_status
make_blocks(struct hn_program *p, struct hone_error *err)
{
	p->blocks = hn_alloc((p->n_commands + 1u) * sizeof *p->blocks);
	for (uint32_t i = 0; i < p->n_commands; i++) {
		const uint32_t space = i < p->n_order ? p->unit_space[i] : 0;
		struct hn_block *last = p->n_blocks ? &p->blocks[p->n_blocks - 1] : NULL;
		uint32_t device = 0;
		enum hone_status st = choose_device(p, &p->commands[i], &device, err);

		if (st)
			return st;
		p->n_fallback += device != 0 && p->commands[i].op < HONE_OP_CUSTOM;
		if (last && last->space == space && (space || last->device == device)) {
			last->end = i + 1;
			/* A region runs on one device: the first that can do all of it. */
			if (device > last->device)
				last->device = device;
		} else {
			p->blocks[p->n_blocks++] = (struct hn_block){i, i + 1, space, device};
		}
	}
	return HONE_OK;
}

/* All counts are known from the plan, so the arrays are made once and pointers into them
 * stay valid. */
enum hone_status
hn_program_compile(struct hn_program *program, const struct hn_tables *tables,
	const struct hn_device *devices, uint32_t n_devices, struct hone_error *err)
{
	uint32_t n_operands = 0, n_commands;

	for (uint32_t t = 0; t < program->n_order; t++)
		n_operands += program->graph.nodes[program->order[t]].n_in +
			program->graph.nodes[program->order[t]].n_out;
	n_commands = program->n_order + count_extra_adds(program);
	n_operands += 3 * (n_commands - program->n_order);
	program->devices = devices;
	program->n_devices = n_devices;
	program->commands = hn_alloc((n_commands + 1u) * sizeof *program->commands);
	program->operands = hn_alloc((n_operands + 1u) * sizeof *program->operands);
	program->operand_places = hn_alloc((n_operands + 1u) * sizeof *program->operand_places);
	for (uint32_t t = 0; t < program->n_order; t++)
		compile_node(program, tables, t);
	compile_extra_adds(program, tables);
	return make_blocks(program, err);
}

/* ---- link ---- */

/* Columns live in pages that devices can borrow. A device that cannot gets a buffer of
 * its own, which every run uploads into. Constants are columns that are filled here,
 * once. */
static enum hone_status
make_columns(struct hn_program *p, struct hone_error *err)
{
	const struct hn_device *device = &p->devices[0];

	p->column_bytes = p->column_bytes ? p->column_bytes : 64;
	p->columns = hn_pages_alloc(p->column_bytes);
	if (!p->columns)
		return hone_fail(err, HONE_ENOMEM, "%" PRIu64 " bytes for the columns of '%s'",
			p->column_bytes, p->name);
	for (uint32_t id = 1; id < p->graph.n_nodes; id++) {
		const struct hn_node *node = &p->graph.nodes[id];

		if (node->leaf == HN_LEAF_CONST)
			memcpy(p->columns + p->places[node->first_out].offset,
				p->graph.constants[node->leaf_index].bytes,
				p->graph.constants[node->leaf_index].n_bytes);
	}
	if (!device->vt->buffer_import(
		    device->device, p->columns, p->column_bytes, &p->column_buffer, NULL))
		return HONE_OK;
	return device->vt->buffer_create(device->device, p->column_bytes, &p->column_buffer, err);
}

/* Gives every operand its buffer and offset. Parameters are found by their index, so one
 * program serves any layout of the parameter buffers; a missing buffer is a bug of the
 * plan. */
enum hone_status
hn_program_link(struct hn_program *program, const struct hn_tables *tables,
	const hone_buffer buffers[HN_MEMORY_KINDS], struct hone_error *err)
{
	enum hone_status st = make_columns(program, err);

	if (st)
		return st;
	program->live = hn_alloc(program->graph.n_spaces * sizeof *program->live);
	program->begin = hn_alloc(program->graph.n_spaces * sizeof *program->begin);
	memset(program->live, 0, program->graph.n_spaces * sizeof *program->live);
	memset(program->begin, 0, program->graph.n_spaces * sizeof *program->begin);
	for (uint32_t i = 0; i < program->n_operands; i++) {
		struct hone_operand *operand = &program->operands[i];
		const struct hn_location *place = &program->operand_places[i];

		operand->offset = place->offset;
		operand->buffer = place->kind == HN_MEMORY_COLUMNS ? program->column_buffer
								   : buffers[place->kind];
		if (place->kind == HN_MEMORY_WEIGHTS) {
			operand->buffer = tables->weights[place->weight].buffer;
			operand->offset = tables->weights[place->weight].offset;
		} else if (place->kind >= HN_MEMORY_PARAMS && place->kind <= HN_MEMORY_MOMENT2) {
			operand->offset = tables->params[place->weight].offset;
		}
		if (operand->rank && !operand->buffer)
			return hone_fail(err, HONE_EBUG, "operand %u of '%s' has no memory", i,
				program->name);
	}
	return HONE_OK;
}

/* ---- scratch of devices ---- */

uint64_t
hn_device_scratch(const struct hn_device *device, const struct hone_command *commands, uint32_t n,
	uint32_t stride, const struct hone_run *run)
{
	const struct hone_backend_vt *vt = device->vt;
	const bool has_slot = vt->struct_size >=
		offsetof(struct hone_backend_vt, scratch_bytes) + sizeof vt->scratch_bytes;

	return has_slot && vt->scratch_bytes
		? vt->scratch_bytes(device->device, commands, n, stride, run)
		: 0;
}

/* Rows of a region come a chunk at a time. */
uint64_t
hn_program_scratch(const struct hn_program *program)
{
	const struct hn_graph *graph = &program->graph;
	int64_t *rows = hn_alloc(2 * (size_t)graph->n_spaces * sizeof *rows);
	const struct hone_run run = {.struct_size = sizeof run,
		.n_spaces = graph->n_spaces,
		.live = rows,
		.begin = rows + graph->n_spaces};
	uint64_t bytes;

	memset(rows, 0, 2 * (size_t)graph->n_spaces * sizeof *rows);
	for (uint32_t s = 1; s < graph->n_spaces; s++) {
		rows[s] = graph->spaces[s].capacity;
		if (graph->spaces[s].is_chunked && rows[s] > program->chunk_rows)
			rows[s] = program->chunk_rows;
	}
	bytes = hn_device_scratch(&program->devices[0], program->commands, program->n_commands,
		sizeof(struct hone_command), &run);
	free(rows);
	return bytes;
}

/* ---- run ---- */

/* A search by name: callers look it up once and keep the pointer, or are not in a hurry. */
void *
hn_program_column(const struct hn_program *program, const char *name)
{
	for (uint32_t i = 0; i < program->graph.n_columns; i++)
		if (hn_streq(program->graph.columns[i].name, name))
			return program->columns +
				program->places[program->graph.columns[i].value].offset;
	return NULL;
}

void
hn_program_set_live(struct hn_program *program, const char *space, int64_t rows)
{
	for (uint32_t s = 1; s < program->graph.n_spaces; s++)
		if (hn_streq(program->graph.spaces[s].name, space))
			program->live[s] = rows;
}

/* Counts are columns that the program fills by itself. */
static void
fill_counts(struct hn_program *p)
{
	for (uint32_t id = 1; id < p->graph.n_nodes; id++) {
		const struct hn_node *node = &p->graph.nodes[id];
		uint8_t *at = p->columns + p->places[node->first_out].offset;

		if (node->leaf != HN_LEAF_COUNT)
			continue;
		if (p->graph.stat == HONE_DTYPE_F64)
			*(double *)(void *)at = (double)p->live[node->leaf_index];
		else
			*(float *)(void *)at = (float)p->live[node->leaf_index];
	}
}

/* Live counts come from the data; more rows than were planned for would write past the
 * arena, so this is checked on every run. */
static enum hone_status
check_live(const struct hn_program *p, struct hone_error *err)
{
	for (uint32_t s = 1; s < p->graph.n_spaces; s++)
		if (p->live[s] < 0 || p->live[s] > p->graph.spaces[s].capacity)
			return hone_fail(err, HONE_EBUG,
				"%" PRId64 " rows of '%s', which was planned for %" PRId64,
				p->live[s], p->graph.spaces[s].name, p->graph.spaces[s].capacity);
	return HONE_OK;
}

/* One call per block: a device sees as many commands at once as possible. */
static enum hone_status
submit_block(struct hn_program *p, const struct hn_block *block, struct hone_command *commands,
	const struct hone_run *run, struct hone_error *err)
{
	const struct hn_device *device = &p->devices[block->device];
	struct hn_call call;
	enum hone_status st;

	hn_call_begin(&call, device->name ? device->name : "backend", "submit", p->name);
	st = device->vt->submit(device->device, commands + block->begin, block->end - block->begin,
		sizeof(struct hone_command), run, err);
	hn_call_end(&call);
	return st;
}

/* Sets or clears ACCUMULATE on the sums of a region that start anew with its first chunk. */
static void
mark_later_chunks(struct hn_program *p, const struct hn_block *block, bool is_later)
{
	for (uint32_t i = block->begin; i < block->end; i++) {
		struct hone_command *command = &p->commands[i];
		const size_t at = (size_t)(command->out - p->operands);
		const bool is_sum = command->out[0].space != block->space;

		if (!is_sum || p->operand_places[at].kind != HN_MEMORY_ARENA)
			continue;
		if (is_later)
			command->flags |= HONE_COMMAND_ACCUMULATE;
		else
			command->flags &= ~(uint32_t)HONE_COMMAND_ACCUMULATE;
	}
}

/* A region runs once per chunk with a window [begin, begin + live) of its rows. Sums
 * that leave it start anew in the first chunk and add from the second on; gradients
 * always add. */
static enum hone_status
run_region(struct hn_program *p, const struct hn_block *block, const struct hone_run *run,
	struct hone_error *err)
{
	const int64_t rows = p->live[block->space];
	enum hone_status st = HONE_OK;
	int64_t begin = 0;

	do { /* once for no rows, too: the sums must become 0 */
		p->begin[block->space] = begin;
		p->live[block->space] = rows - begin < p->chunk_rows ? rows - begin : p->chunk_rows;
		if (begin == 0 || begin == p->chunk_rows)
			mark_later_chunks(p, block, begin > 0);
		st = submit_block(p, block, p->commands, run, err);
		begin += p->chunk_rows;
	} while (!st && begin < rows);
	p->begin[block->space] = 0;
	p->live[block->space] = rows;
	return st;
}

/* Blocks in their order. Where the next block is another device's, the results must be
 * there first: devices share memory and nothing else. */
enum hone_status
hn_program_run(struct hn_program *program, uint64_t seed, uint64_t step, struct hone_error *err)
{
	const struct hone_run run = {.struct_size = sizeof run,
		.n_spaces = program->graph.n_spaces,
		.live = program->live,
		.begin = program->begin,
		.seed = seed,
		.step = step};
	const struct hn_device *first = &program->devices[0];
	enum hone_status st = check_live(program, err);

	if (st)
		return st;
	fill_counts(program);
	if (program->column_buffer != (hone_buffer)program->columns)
		st = first->vt->upload(first->device, program->column_buffer, 0, program->columns,
			program->column_bytes, err);
	for (uint32_t b = 0; b < program->n_blocks && !st; b++) {
		const struct hn_block *block = &program->blocks[b];

		st = block->space ? run_region(program, block, &run, err)
				  : submit_block(program, block, program->commands, &run, err);
		if (!st && b + 1 < program->n_blocks &&
			program->blocks[b + 1].device != block->device)
			st = program->devices[block->device].vt->wait(
				program->devices[block->device].device, err);
	}
	for (uint32_t d = 0; d < program->n_devices && !st; d++)
		st = program->devices[d].vt->wait(program->devices[d].device, err);
	return st;
}

/* An output by name. Outputs live to the end of the program (see plan.c), so they can be
 * read until the next run of any program that shares the arena. */
enum hone_status
hn_program_read(const struct hn_program *program, const char *output, void *out, uint64_t n_bytes,
	struct hone_error *err)
{
	for (uint32_t i = 0; i < program->graph.n_outputs; i++) {
		const struct hn_output *o = &program->graph.outputs[i];
		const struct hn_location *place = &program->places[o->value];

		if (o->leaf || !hn_streq(o->name, output))
			continue;
		for (uint32_t k = 0; k < program->n_operands; k++) {
			const struct hone_operand *operand = &program->operands[k];

			if (program->operand_places[k].kind != place->kind ||
				operand->offset != place->offset)
				continue;
			if (n_bytes > place->n_bytes)
				n_bytes = place->n_bytes;
			return program->devices[0].vt->download(program->devices[0].device,
				operand->buffer, operand->offset, out, n_bytes, err);
		}
	}
	return hone_fail(err, HONE_EBUG, "'%s' has no output '%s'", program->name, output);
}
