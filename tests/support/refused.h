/*
 * support/refused.h - the outcome that every bad model or tokenizer file must have.
 */
#ifndef HN_TEST_REFUSED_H
#define HN_TEST_REFUSED_H

#include <hone/status.h>

/* A path for files that are only in memory. */
#define REFUSED_PATH "somewhere/model.file"

/* Fails the test unless `st` and `err` say HONE_EMODEL, with `place` in the place and `cause`
 * in the text; `fault` names the case. */
void test_refused(enum hone_status st, const struct hone_error *err, const char *fault,
	const char *place, const char *cause);

#endif
