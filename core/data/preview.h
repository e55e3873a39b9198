/*
 * data/preview.h - examples as a person reads them, with what is learned marked.
 *
 * With colours what is learned is green, without it stands in [[ ]].  Special tokens are
 * spelt out, a line break shows as an arrow, and other control characters as \xNN, so that a
 * data file cannot speak to a terminal.  For `hone plan`: most faults of data show here.
 */
#ifndef HN_DATA_PREVIEW_H
#define HN_DATA_PREVIEW_H

#include "data/dataset.h"

/* Appends the first n examples.  Of a long one the beginning and the end are shown. */
enum hone_status hn_preview(const struct hn_dataset *data, int64_t n, bool has_colour,
	struct hn_str *out, struct hone_error *err);

#endif
