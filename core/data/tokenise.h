/*
 * data/tokenise.h - the text service: samples to token ids and what of them is learned.
 *
 *     sample        becomes                                       learned
 *     text          the text, end of sequence behind it           everything
 *     pair          prompt and completion as one text, end        the completion and its end
 *                   of sequence behind it
 *     chat          the chat template's text                      the assistant's turns
 *     chat pair     the same, of prompt and completion            what follows the beginning
 *                                                                 shared with the prompt alone
 *
 * End of sequence is appended unless it is there already; begin of sequence is what the
 * tokenizer itself adds to a plain text, and never stands twice.  Nothing is added to what a
 * template has made.  A token that reaches over the border into what is learned is learned.
 * Nothing is cut here and nothing is padded.
 */
#ifndef HN_DATA_TOKENISE_H
#define HN_DATA_TOKENISE_H

#include "data/schema.h"
#include "text/template.h"
#include "text/tokenizer.h"

/* Immutable once made; any number of threads may use it, each with its own scratch. */
struct hn_text_special;
struct hn_text_service {
	const struct hn_tokenizer *tok; /* borrowed */
	struct hn_template *tpl;        /* NULL: the model has none */
	json_t *vars;                   /* bos_token, eos_token ... for the template */
	struct hn_template_limits limits;
	int32_t bos, eos; /* -1 = none */
	bool adds_bos, adds_eos;
	struct hn_text_special *specials; /* spellings of special tokens */
	size_t n_specials;
	bool starts_special[256];
};

/* Puts file and row in the place of an error of the template; gives `st` back. */
enum hone_status hn_text_service_fail(const struct hn_text_service *service, bool is_row,
	enum hone_status st, struct hone_error *err);

/* `now` is what a template's strftime_now sees (seconds since 1970 UTC), so that runs repeat.
 * A template that cannot be parsed is HONE_EMODEL.  Finished by the caller in any case. */
enum hone_status hn_text_service_init(struct hn_text_service *service,
	const struct hn_tokenizer *tok, int64_t now, struct hone_error *err);
void hn_text_service_fini(struct hn_text_service *service);

/* Whether a sample spells a special token, but for one begin of sequence in front of a plain
 * text and one end of sequence behind it, which people write on purpose. */
bool hn_sample_spells_special(
	const struct hn_text_service *service, const struct hn_sample *sample);

/* Memory of one thread. */
struct hn_text_scratch {
	struct hn_encoder *encoder;
	struct hn_encoding encoding;
	struct hn_str text, prompt;
	struct hn_spans spans;
	uint8_t *learned;
	size_t cap_learned;
};
enum hone_status hn_text_scratch_init(struct hn_text_scratch *scratch,
	const struct hn_text_service *service, struct hone_error *err);
void hn_text_scratch_fini(struct hn_text_scratch *scratch);

/* Tokens in the scratch, valid until its next use. */
struct hn_tokenised {
	int64_t n;
	const int32_t *ids;
	const uint8_t *learned; /* 1 = is a target */
	int64_t n_straddles;    /* tokens over a border, learned */
	int64_t n_lost;         /* bytes that the vocabulary cannot spell */
	bool is_endless;        /* no end of sequence, because the tokenizer names none */
	bool has_special;       /* the data spell a special token, outside the template */
};

/* `flags` are those of enum hone_tokenise_flags (hone/objective.h). */
enum hone_status hn_tokenise(const struct hn_text_service *service, struct hn_text_scratch *scratch,
	const struct hn_sample *sample, uint32_t flags, struct hn_tokenised *out,
	struct hone_error *err);

/* What generation starts from: the raw prompt, or the template with its generation prompt for
 * the messages before the last assistant's turn.  The same ids as training has there, but for
 * a token over the border; nothing is learned. */
enum hone_status hn_tokenise_prompt(const struct hn_text_service *service,
	struct hn_text_scratch *scratch, const struct hn_sample *sample, struct hn_tokenised *out,
	struct hone_error *err);

#endif
