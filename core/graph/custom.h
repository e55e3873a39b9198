/*
 * graph/custom.h - operations that plugins bring: known to graphs, and run by the host.
 *
 * Graphs find a plugin's op by id as they find hone's own.  It runs on the last device of a
 * run: the reference backend with these ops added, so that a row-chunked region which holds
 * one of them is still a region of one device.  A run without such plugins has none of this.
 */
#ifndef HN_GRAPH_CUSTOM_H
#define HN_GRAPH_CUSTOM_H

#include <hone/custom_op.h>

#include "graph/graph.h"
#include "graph/program.h"

enum { HN_MAX_CUSTOM_OPS = 64 };

struct hn_custom_op {
	const char *name; /* borrowed, as vt and self */
	char who[160];    /* "focal.so: focal_term": whose it is, for messages */
	const struct hone_op_vt *vt;
	const void *self;
	struct hn_op op; /* how graphs see it */
};

struct hn_custom_ops {
	struct hn_custom_op list[HN_MAX_CUSTOM_OPS]; /* ids HONE_OP_CUSTOM + index */
	uint32_t n;
	struct hn_device inner; /* runs everything else */
};

/* Adds one out of the file `plugin` (a path, or NULL: linked in); HONE_EPLUGIN when the name is
 * taken or there are too many. */
enum hone_status hn_custom_ops_add(struct hn_custom_ops *ops, const char *plugin, const char *name,
	const struct hone_op_vt *vt, const void *self, struct hone_error *err);

/* A device that runs the ops, and on `inner` (whose memory the host can address) all else.
 * `ops` must stay where it is. */
struct hn_device hn_custom_device(struct hn_custom_ops *ops, const struct hn_device *inner);

#endif
