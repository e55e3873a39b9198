/*
 * text/tokenizer_gguf.h - the tokenizer that a GGUF file carries in its metadata.
 */
#ifndef HN_TEXT_TOKENIZER_GGUF_H
#define HN_TEXT_TOKENIZER_GGUF_H

#include "model/tensors.h"
#include "text/tokenizer.h"

/* Makes a tokenizer that the caller destroys and that needs the file no longer.  HONE_ENOTFOUND
 * where the file has none, HONE_EUNSUPPORTED for kinds that are not byte-level BPE. */
enum hone_status hn_tokenizer_from_gguf(
	struct hn_tokenizer **out, const struct hn_tensor_file *gguf, struct hone_error *err);

#endif
