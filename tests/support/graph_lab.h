/*
 * support/graph_lab.h - a graph of a few nodes, differentiated, planned and run, in double on
 * the reference backend.
 *
 *     lab_open; build values from lab_param, lab_rows, lab_column; lab_loss; lab_finish;
 *     lab_run; lab_check; lab_close
 *
 * There are three row spaces: "rows" (LAB_ROWS of LAB_CAPACITY live), cut into LAB_SEGMENTS
 * segments (one of them empty), and "picked" (LAB_PICKED rows chosen from the first).
 */
#ifndef HN_TEST_GRAPH_LAB_H
#define HN_TEST_GRAPH_LAB_H

#include "bench_model.h"

enum {
	LAB_ROWS = 7,
	LAB_CAPACITY = 10,
	LAB_SEGMENTS = 4,
	LAB_PICKED = 5,
	LAB_PARAMS = 12,
};

struct lab {
	struct hn_graph graph;
	struct hone_graph *g; /* of `graph`, while it is built */
	struct hn_params params;
	struct hn_param list[LAB_PARAMS];
	double shift[LAB_PARAMS], spread[LAB_PARAMS];
	struct hn_model model;
	struct hn_device device;
	struct hn_engine engine;
	struct hn_program program;
	uint32_t rows, segments, offsets, picked; /* row spaces */
	uint32_t n_sums;
	hone_node loss;
	bool picked_is_chunked;
};

void lab_open(struct lab *lab);
void lab_close(struct lab *lab);

/* A trained matrix (cols 0: vector) whose values are shift + spread * normal. */
hone_node lab_param(struct lab *lab, int64_t rows, int64_t cols, double shift, double spread);
/* A trained value [rows, cols] of the row space "rows", or "picked". */
hone_node lab_rows(struct lab *lab, int64_t cols, double shift, double spread);
hone_node lab_picked(struct lab *lab, int64_t cols, double shift, double spread);
/* Offsets of the segments, ranges of their keys, row keys, chosen rows, labels < 5. */
hone_node lab_offsets(struct lab *lab);
hone_node lab_ranges(struct lab *lab);
hone_node lab_keys(struct lab *lab);
hone_node lab_index(struct lab *lab);
hone_node lab_labels(struct lab *lab);
hone_node lab_positions(struct lab *lab);

/* Adds sum(w y) to the loss, with fixed weights w that differ from element to element. */
void lab_loss(struct lab *lab, hone_node y);

/* Differentiates, plans in chunks of `chunk_rows`, allocates, fills parameters and columns. */
void lab_finish(struct lab *lab, int64_t chunk_rows, bool fuses);
/* Runs with gradients from zero; returns the loss. */
double lab_run(struct lab *lab);
double *lab_values(const struct lab *lab, int32_t kind, uint32_t param);

/* Whether all gradients, times `factor`, equal central differences, and two runs add up; the
 * reason in `why`. */
bool lab_check(struct lab *lab, double factor, char why[256]);

struct lab_case {
	const char *name;
	void (*build)(struct lab *lab, int32_t kind);
	int32_t kind;
};

/* Builds and checks each case, in chunks of 2 rows where it chunks: right as it is, and seen
 * to be wrong when it is wrong by 1 %.  Prints and counts the failures. */
int lab_check_cases(const struct lab_case *cases, size_t n, bool fuses);

#endif
