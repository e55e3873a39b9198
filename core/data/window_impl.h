/*
 * window_impl.h - parts that the files of the window share.
 */
#ifndef HN_DATA_WINDOW_IMPL_H
#define HN_DATA_WINDOW_IMPL_H

#include "data/window.h"

/* Puts the services of `emit` into window->vt (emit.c). */
void hn_window_services(struct hn_window *window);
/* Emits one example as the window's next (emit.c). */
enum hone_status hn_window_emit(struct hn_window *window, int64_t example, struct hone_error *err);

static inline struct hn_window_bound *
hn_window_bound_of(const struct hn_window *window, int64_t example, uint32_t stream)
{
	return &window->bounds[example * window->n_streams + stream];
}

/* A selection's column among the stream's; NULL when the layout has none. */
const struct hn_window_column *hn_window_find_column(
	const struct hn_window_stream *stream, const char *name);
/* Rows [begin, end) of the column that are not the selection's value. */
int64_t hn_window_count(const struct hn_window_column *column,
	const struct hn_decl_selection *selection, int64_t begin, int64_t end);

#endif
