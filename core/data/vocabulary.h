/*
 * data/vocabulary.h - the tokenizer of a model, whatever kind of file the model is.
 */
#ifndef HN_DATA_VOCABULARY_H
#define HN_DATA_VOCABULARY_H

#include "model/model.h"
#include "text/tokenizer.h"

/* tokenizer.json in the model's folder, or the description in its GGUF file.  The caller
 * destroys it. */
enum hone_status hn_vocabulary_open(
	struct hn_tokenizer **out, const struct hn_model *model, struct hone_error *err);

#endif
