/*
 * text/bpe_train.h - learning a byte-level BPE vocabulary from text.
 *
 * The words are those of SmolLM2's pre-tokenizer (digits apart, then GPT-2's pattern).  The
 * merges are the ones Hugging Face's BpeTrainer finds on the same lines; the same text in the
 * same order gives the same files, bit for bit.
 */
#ifndef HN_TEXT_BPE_TRAIN_H
#define HN_TEXT_BPE_TRAIN_H

#include "text/tokenizer.h"

struct hn_bpe_trainer;

struct hn_bpe_train_options {
	int32_t vocab_size; /* with special tokens and the 256 bytes; at least that many */
	int64_t min_count;  /* pairs seen less often are not merged; 0 = any */
	const struct hn_text *special; /* get the ids 0 .. n_special - 1 */
	size_t n_special;
	int32_t bos, eos, unk, pad; /* ids among the special tokens; -1 = none */
};

enum hone_status hn_bpe_trainer_create(struct hn_bpe_trainer **out, struct hone_error *err);
void hn_bpe_trainer_destroy(struct hn_bpe_trainer *trainer); /* NULL-safe */

/* Counts the words of a text.  Each line with its line break is by itself.  HONE_EDATA with the
 * offset where the text is not UTF-8. */
enum hone_status hn_bpe_trainer_feed(
	struct hn_bpe_trainer *trainer, const char *text, size_t len, struct hone_error *err);

/* Learns the merges and makes a tokenizer that the caller destroys.  The vocabulary is smaller
 * than asked for where the text has too few pairs.  May be called again. */
enum hone_status hn_bpe_trainer_finish(const struct hn_bpe_trainer *trainer,
	const struct hn_bpe_train_options *options, struct hn_tokenizer **out,
	struct hone_error *err);

#endif
