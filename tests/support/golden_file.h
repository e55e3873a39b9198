/*
 * support/golden_file.h - safetensors files that a test reads: what etc/golden made, and what an
 * export wrote.
 */
#ifndef HN_TEST_GOLDEN_FILE_H
#define HN_TEST_GOLDEN_FILE_H

#include "model/tensors.h"

/* Opens tests/data/<name>, or fails the test; hn_tensor_file_close. */
void golden_open(struct hn_tensor_file *file, const char *name);
/* The same of <folder>/<name>. */
void golden_open_in(struct hn_tensor_file *file, const char *folder, const char *name);
/* The tensor, or the test fails. */
const struct hn_tensor_info *need_tensor(const struct hn_tensor_file *file, const char *name);

#endif
