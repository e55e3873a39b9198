/*
 * vocabulary.c - which reader a model's tokenizer needs.
 */
#include "data/vocabulary.h"
#include "text/tokenizer_gguf.h"

enum hone_status
hn_vocabulary_open(struct hn_tokenizer **out, const struct hn_model *model, struct hone_error *err)
{
	if (!model->is_random && model->checkpoint.tensors.format == HN_FILE_GGUF)
		return hn_tokenizer_from_gguf(out, &model->checkpoint.tensors, err);
	return hn_tokenizer_load(out, model->checkpoint.path, err);
}
