/*
 * leaf_table.h - one kernel path: all leaves, and the table of them under HN_TABLE.
 *
 * Included by path_*.c inside its compile target, after every system header.
 */
#include "lanes.h"
#include "leaf_pack.h"
#include "leaf_product.h"
#include "leaf_packed.h"
#include "leaf_attention.h"
#include "leaf_attention_few.h"
#include "leaf_attention_back.h"
#include "leaf_attention_pack.h"
#include "leaf_unary.h"
#include "leaf_typed.h"
#include "leaf_rows.h"

const struct hn_cpu_kernels HN_TABLE = {
	.name = HN_NAME,
	.lanes = HN_LANES,
	.tile_rows = HN_TILE_ROWS,
#ifdef HN_BF16
	.bf16 = 1,
#endif
	.tile_row_order = tile_row_order,
	.tile_k_order = tile_k_order,
	.pack_nt = pack_nt,
	.pack_nn = pack_nn,
	.pack_copy = pack_copy,
	.dots = dots,
	.thin = thin,
	.finish = finish,
	.packed_turn = packed_turn,
	.packed = packed,
	.key_rows = ATTEND_ROWS,
	.attend = attend,
	.attend_few = attend_few,
	.attend_back = attend_back,
	.attend_keys = attend_keys,
	.pack_columns = pack_columns_of,
	.pack_steps = pack_steps_of,
	.pack_depths = pack_depths,
	.unpack_columns = unpack_columns,
	.dot_columns = dot_columns,
	.end_columns = end_columns,
	.to_f32 = rows_to_f32,
	.from_f32 = rows_from_f32,
	.unary = rows_unary,
	.unary_back = rows_unary_back,
	.rms_norm = rows_rms_norm,
	.rms_norm_back = rows_rms_norm_back,
	.gate = rows_gate,
	.gate_back = rows_gate_back,
	.binary = rows_binary,
	.binary_scalar = rows_binary_scalar,
	.affine = rows_affine,
	.axpy = rows_axpy,
	.pick_max = rows_pick_max,
	.sum = rows_sum,
	.dot = rows_dot,
	.square_about = rows_square_about,
	.top = rows_top,
	.sum_exp = rows_sum_exp,
	.normalize = rows_normalize,
	.softmax_grad = rows_softmax_grad,
	.rotate = rows_rotate,
	.keep = rows_keep,
	.adamw = rows_adamw,
};
