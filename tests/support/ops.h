/*
 * support/ops.h - one command by hand, on any backend, in guarded memory.
 *
 * A case describes a command without memory: operation, attributes, operands with shapes,
 * row spaces and how they are filled.  ops_data holds the numbers of one case, in double;
 * ops_run packs them into one block with guard bands, runs the command on a device, and
 * reads the outputs back.  It fails when
 *   - a guard band, an input that is not shared with an output, or a row of an output outside
 *     the live rows has changed (something was written where nothing may be written),
 *   - the device refuses the command.
 * What must not be read (guards, rows beyond the live ones or before the window) is filled
 * with bytes 0xFF: a NaN in every floating type, -1 in i32.  Reading it shows in the result.
 *
 * Types: OPS_COMPUTE and OPS_STAT stand for the program's types and are replaced when a case
 * is run for f32, bf16 or f64, so one case serves all.
 */
#ifndef HONE_SUPPORT_OPS_H
#define HONE_SUPPORT_OPS_H

#include <hone/backend.h>
#include <hone/plugin.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPS_IN          10
#define OPS_OUT         6
#define OPS_SPACES      8
#define OPS_PARTS       4
#define OPS_FORWARD_OUT 3
#define OPS_WHY         400

/* The program's types, besides those of enum hone_dtype. */
#define OPS_COMPUTE (-1)
#define OPS_STAT    (-2)

/* How the live elements of an operand are filled.  Rounded to the operand's type. */
enum ops_fill {
	OPS_FILL_NORMAL = 0, /* b + a * standard normal; a = 0 means a = 1 */
	OPS_FILL_UNIFORM,    /* in [a, b) */
	OPS_FILL_INTEGER,    /* a whole number in [a, b): indices, and values with ties */
	OPS_FILL_IOTA,       /* a + b i */
	OPS_FILL_CONST,      /* a */
	OPS_FILL_LIST,       /* the numbers of `list`; -1 behind them */
};

struct ops_operand {
	int32_t dtype; /* enum hone_dtype, OPS_COMPUTE or OPS_STAT */
	uint32_t rank; /* 0 = absent */
	int64_t dim[HONE_MAX_RANK];
	uint32_t space;
	uint32_t flags; /* enum hone_operand_flags */
	int32_t fill;   /* enum ops_fill */
	uint32_t alias; /* of an output: 1 + the input whose memory it shares; 0 = its own */
	double a, b;
	const int32_t *list;
	int64_t n_list;
	/* A stored weight: its bytes, and where its parts begin in them (part 0 at 0). */
	const struct hone_storage_vt *storage;
	const void *storage_self;
	const uint8_t *bytes;
	int64_t n_bytes;
	uint32_t n_parts;
	uint64_t part_begin[OPS_PARTS];
};

union ops_attr {
	struct hone_attr_matmul matmul;
	struct hone_attr_unary unary;
	struct hone_attr_binary binary;
	struct hone_attr_scale scale;
	struct hone_attr_cast cast;
	struct hone_attr_norm norm;
	struct hone_attr_rope_table rope_table;
	struct hone_attr_rope rope;
	struct hone_attr_attention attention;
	struct hone_attr_rows rows;
	struct hone_attr_reduce reduce;
	struct hone_attr_nll nll;
	struct hone_attr_dropout dropout;
	struct hone_attr_slice slice;
	struct hone_attr_adamw adamw;
};

/* Inputs of a backward operation that must fit together: `op` is run on the reference with
 * the attributes of the case; its input i is the case's input in[i] - 1 (0 ends the list),
 * and its output i, of the shape out[i], becomes the case's input to[i] - 1 (0: dropped). */
struct ops_forward {
	uint32_t op; /* 0 = there is none */
	uint32_t attr_size;
	uint32_t n_out;
	uint8_t in[OPS_IN];
	uint8_t to[OPS_FORWARD_OUT];
	struct ops_operand out[OPS_FORWARD_OUT];
};

struct ops_case {
	char name[96];
	uint32_t op;
	uint32_t flags; /* enum hone_command_flags */
	uint32_t attr_size;
	uint32_t n_in, n_out;
	union ops_attr attr;
	struct ops_operand in[OPS_IN];
	struct ops_operand out[OPS_OUT];
	int64_t live[OPS_SPACES], begin[OPS_SPACES];
	uint64_t seed, step;
	struct ops_forward forward;
	double slack; /* factor on the tolerance; 0 = 1 */
};

/* The live elements of each operand, row by row, in double. */
struct ops_data {
	uint32_t n_in, n_out;
	int64_t n_in_elems[OPS_IN], n_out_elems[OPS_OUT];
	double *in[OPS_IN];
	double *out[OPS_OUT]; /* before a run: what ACCUMULATE adds to */
};

struct ops_device {
	const struct hone_backend_vt *vt;
	const struct hone_factory *factory;
	void *self, *device;
	uint32_t alignment;
};

/* Opens device 0 of the first backend in `plugin`; host and values go to its create.  false
 * with a reason in `why`. */
bool ops_open(const struct hone_plugin *plugin, const struct hone_host *host, const void *values,
	struct ops_device *out, char why[OPS_WHY]);
bool ops_open_reference(struct ops_device *out);
void ops_close(struct ops_device *device);

/* The type behind OPS_COMPUTE and OPS_STAT.  Any other type is itself. */
int32_t ops_dtype(int32_t dtype, int32_t compute);

/* v as the type holds it. */
double ops_round(int32_t dtype, double v);

/* Fills the inputs of a case, and the outputs where ACCUMULATE adds to them.  The same case
 * and compute type give the same numbers.  false when memory is short or the forward
 * operation fails. */
bool ops_data_init(struct ops_data *data, const struct ops_case *c, int32_t compute);
void ops_data_fini(struct ops_data *data);

/* Runs the case; data->out then holds the live outputs.  false with a reason. */
bool ops_run(const struct ops_device *device, const struct ops_case *c, int32_t compute,
	struct ops_data *data, char why[OPS_WHY]);

/* Whether all outputs agree: |got - want| <= tolerance * (|want| + rms(want)) + tiny, where
 * infinities and NaN must be the same.  `tolerance` is multiplied by the case's slack. */
bool ops_near(const struct ops_data *got, const struct ops_data *want, const struct ops_case *c,
	double tolerance, char why[OPS_WHY]);

/* Writes a reason; gives false. */
HONE_PRINTF(2, 3)
bool ops_say(char why[OPS_WHY], const char *fmt, ...);

/* cmocka's setup and teardown of a test program: *state is an open reference device. */
int ops_setup(void **state);
int ops_teardown(void **state);

#endif
