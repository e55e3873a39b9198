/*
 * refused.c - one check of status, place and cause.
 */
#include "refused.h"

#include <string.h>

#include "support.h"

void
test_refused(enum hone_status st, const struct hone_error *err, const char *fault,
	const char *place, const char *cause)
{
	if (st != HONE_EMODEL || err->status != HONE_EMODEL)
		fail_msg("%s: status %d instead of HONE_EMODEL: %s", fault, (int)st, err->text);
	if (!strstr(err->place, place))
		fail_msg("%s: the place \"%s\" is not %s", fault, err->place, place);
	if (!strstr(err->text, cause))
		fail_msg("%s: \"%s\" does not say \"%s\"", fault, err->text, cause);
}
