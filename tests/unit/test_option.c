/*
 * test_option.c - texts to values: each type, its range, its messages, and back to text.
 */
#include <stdlib.h>
#include <string.h>

#include "config/option.h"
#include "support.h"

struct values {
	int32_t flag, choice;
	int64_t count, bytes;
	double share, rate;
	const char *name, *path;
	struct hone_strings list;
	const struct hone_site_set *sites;
};

enum row { FLAG, CHOICE, COUNT, BYTES, SHARE, RATE, NAME, PATH, LIST, SITES, N_ROWS };

#define AT(member) offsetof(struct values, member)
static const struct hone_option rows[] = {
	[FLAG] = {.key = "flag",
		.type = HONE_OPTION_BOOL,
		.offset = AT(flag),
		.default_value = "no",
		.help = "h"},
	[CHOICE] = {.key = "kind",
		.type = HONE_OPTION_CHOICE,
		.offset = AT(choice),
		.default_value = "linear",
		.choices = "linear|cosine|constant",
		.help = "h"},
	[COUNT] = {.key = "r",
		.type = HONE_OPTION_I64,
		.offset = AT(count),
		.default_value = "8",
		.min = 1,
		.max = 4096,
		.aliases = "rank|lora_r",
		.help = "h"},
	[BYTES] = {.key = "limit", .type = HONE_OPTION_BYTES, .offset = AT(bytes), .help = "h"},
	[SHARE] = {.key = "dropout",
		.type = HONE_OPTION_F64,
		.flags = HONE_OPTION_OPEN_MAX,
		.offset = AT(share),
		.default_value = "0",
		.max = 1,
		.help = "h"},
	[RATE] = {.key = "rate",
		.type = HONE_OPTION_F64,
		.flags = HONE_OPTION_REQUIRED | HONE_OPTION_OPEN_MIN,
		.offset = AT(rate),
		.max = 1,
		.help = "h"},
	[NAME] = {.key = "name", .type = HONE_OPTION_STRING, .offset = AT(name), .help = "h"},
	[PATH] = {.key = "file", .type = HONE_OPTION_PATH, .offset = AT(path), .help = "h"},
	[LIST] = {.key = "list", .type = HONE_OPTION_LIST, .offset = AT(list), .help = "h"},
	[SITES] = {.key = "target_modules",
		.type = HONE_OPTION_SITES,
		.offset = AT(sites),
		.help = "h"},
};
static const struct hone_options options = {
	sizeof(struct hone_option), N_ROWS, sizeof(struct values), rows};

/* The canonical text of `text`, or "! message". */
static char *
canonical(enum row row, const char *text)
{
	struct hn_arena arena = {0};
	struct hn_option_ground ground = {.dir = "/base", .arena = &arena};
	struct hn_option_value value;
	struct hone_error err = {0};
	struct hn_str out = {0};

	if (hn_option_parse(&rows[row], text, &ground, &value, &err))
		hn_str_printf(&out, "! %s", err.text);
	else
		hn_option_put(&rows[row], &value, &out);
	hn_arena_fini(&arena);
	return hn_str_take(&out);
}

struct text_case {
	enum row row;
	const char *text, *wanted;
};

static void
expect_all(const struct text_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char *found = canonical(cases[i].row, cases[i].text);

		assert_string_equal(found, cases[i].wanted);
		free(found);
	}
}
#define EXPECT_ALL(cases) expect_all(cases, sizeof(cases) / sizeof((cases)[0]))

/* Would catch: a form of a value that is documented and not read, or read as another one. */
static void
test_option_good_texts_give_values(void **state)
{
	static const struct text_case cases[] = {
		{FLAG, "yes", "yes"},
		{FLAG, "True", "yes"},
		{FLAG, "ON", "yes"},
		{FLAG, "no", "no"},
		{FLAG, "false", "no"},
		{FLAG, "off", "no"},
		{CHOICE, "cosine", "cosine"},
		{COUNT, "1", "1"},
		{COUNT, "+7", "7"},
		{COUNT, "1_000", "1000"},
		{COUNT, "4096", "4096"},
		{COUNT, "007", "7"},
		{SHARE, "0.1", "0.1"},
		{SHARE, "10%", "0.1"},
		{SHARE, "1e-1", "0.1"},
		{SHARE, "0.1%", "0.001"},
		{SHARE, "-0", "0"},
		{SHARE, ".5", "0.5"},
		{SHARE, "0.", "0"},
		{RATE, "100%", "1"},
		{RATE, "2E-4", "0.0002"},
		{BYTES, "512", "512"},
		{BYTES, "64K", "65536"},
		{BYTES, "64k", "65536"},
		{BYTES, "64KiB", "65536"},
		{BYTES, "64KB", "64000"},
		{BYTES, "8GiB", "8589934592"},
		{BYTES, "8 GiB", "8589934592"},
		{BYTES, "1.5G", "1610612736"},
		{BYTES, "2TB", "2000000000000"},
		{BYTES, "7B", "7"},
		{BYTES, "9007199254740993", "9007199254740993"},
		{NAME, "a, b", "a, b"},
		{NAME, "", ""},
		{PATH, "a/b", "/base/a/b"},
		{PATH, "./a", "/base/a"},
		{PATH, "../a", "/base/../a"},
		{PATH, "/a", "/a"},
		{LIST, "a", "a"},
		{LIST, " a ,b,  c d", "a, b, c d"},
		{LIST, "a\\,b, c", "a\\,b, c"},
		{LIST, "", ""},
		{LIST, "a\\b", "a\\b"},
		{SITES, ".*\\.(q|v)_proj", ".*\\.(q|v)_proj"},
	};

	(void)state;
	EXPECT_ALL(cases);
}

/* Would catch: junk behind a number ignored, a number that f32 turns into 0 or 1, overflow wrapped, a range off by one end, C's
 * hex and nan let through, a message that does not say what would be right. */
static void
test_option_bad_texts_say_what_is_expected(void **state)
{
	static const struct text_case cases[] = {
		{FLAG, "1", "! flag = 1: must be yes or no"},
		{FLAG, "yes # c",
			"! flag = yes # c: must be yes or no ('#' starts a comment only at a "
			"line's "
			"start; ' ;' does here)"},
		{CHOICE, "cosin",
			"! kind = cosin: must be one of linear, cosine, constant; did you mean "
			"cosine?"},
		{CHOICE, "Linear",
			"! kind = Linear: must be one of linear, cosine, constant; did you mean "
			"linear?"},
		{CHOICE, "", "! kind = : must be one of linear, cosine, constant"},
		{COUNT, "0", "! r = 0: must be at least 1 and at most 4096"},
		{COUNT, "4097", "! r = 4097: must be at least 1 and at most 4096"},
		{COUNT, "-1", "! r = -1: must be at least 1 and at most 4096"},
		{COUNT, "99999999999999999999",
			"! r = 99999999999999999999: must be at least 1 and at most 4096"},
		{COUNT, "8x", "! r = 8x: must be a whole number; 'x' is left over"},
		{COUNT, "8.5", "! r = 8.5: must be a whole number; '.5' is left over"},
		{COUNT, "0x10", "! r = 0x10: must be a whole number; 'x10' is left over"},
		{COUNT, "1__0", "! r = 1__0: must be a whole number; '__0' is left over"},
		{COUNT, "_1", "! r = _1: must be a whole number"},
		{COUNT, "1_", "! r = 1_: must be a whole number; '_' is left over"},
		{COUNT, "", "! r = : must be a whole number"},
		{COUNT, "-", "! r = -: must be a whole number"},
		{COUNT, "1,000",
			"! r = 1,000: use a decimal point, or '_' between thousands; ',' separates "
			"lists"},
		{SHARE, "1.0", "! dropout = 1.0: must be at least 0 and below 1"},
		{SHARE, "100%", "! dropout = 100%: must be at least 0 and below 1"},
		{RATE, "0", "! rate = 0: must be above 0 and at most 1"},
		{RATE, "2e4", "! rate = 2e4: must be above 0 and at most 1; did you mean 2e-4?"},
		{RATE, "2e-5x",
			"! rate = 2e-5x: must be a number such as 2e-4, 0.5 or 10%; 'x' is left "
			"over"},
		{RATE, "0,0002",
			"! rate = 0,0002: use a decimal point, or '_' between thousands; ',' "
			"separates "
			"lists"},
		{RATE, "nan", "! rate = nan: must be a number such as 2e-4, 0.5 or 10%"},
		{RATE, "inf", "! rate = inf: must be a number such as 2e-4, 0.5 or 10%"},
		{RATE, "0x1p-3",
			"! rate = 0x1p-3: must be a number such as 2e-4, 0.5 or 10%; 'x1p-3' is "
			"left "
			"over"},
		{RATE, "1e",
			"! rate = 1e: must be a number such as 2e-4, 0.5 or 10%; 'e' is left over"},
		{RATE, "1e-1%",
			"! rate = 1e-1%: must be a number such as 2e-4, 0.5 or 10%; '%' is left "
			"over"},
		{RATE, ".", "! rate = .: must be a number such as 2e-4, 0.5 or 10%"},
		{RATE, "1e999", "! rate = 1e999: does not fit a double"},
		{RATE, "1e-50",
			"! rate = 1e-50: is 0 in single precision; must be at least 1.2e-38"},
		{SHARE, "1e-50",
			"! dropout = 1e-50: is 0 in single precision; if not 0, must be at least "
			"1.2e-38"},
		{SHARE, "0.99999999999",
			"! dropout = 0.99999999999: is 1 in single precision; keep farther away"},
		{BYTES, "8Gi",
			"! limit = 8Gi: must be a size such as 512, 64K or 8GiB; 'Gi' is left "
			"over"},
		{BYTES, "-1", "! limit = -1: must be at least 0"},
		{BYTES, "1e3",
			"! limit = 1e3: must be a size such as 512, 64K or 8GiB; 'e3' is left "
			"over"},
		{BYTES, "99999999T", "! limit = 99999999T: does not fit 64 bits"},
		{BYTES, "0.3", "! limit = 0.3: is not a whole number of bytes"},
		{PATH, "", "! file = : the path is empty"},
		{PATH, "~/a", "! file = ~/a: '~' is not expanded here; write the whole path"},
		{LIST, "a,,b", "! list = a,,b: item 2 of the list is empty"},
		{LIST, "a,", "! list = a,: the list ends with a comma"},
		{LIST, ",", "! list = ,: item 1 of the list is empty"},
	};

	(void)state;
	EXPECT_ALL(cases);
}

/* Would catch: a buffer that a long number overruns, a message cut inside a character or
 * broken by a newline in the value, a type of a newer plugin taken for one we know. */
static void
test_option_extreme_texts_are_refused_whole(void **state)
{
	static const struct text_case cases[] = {
		{BYTES, "99999999999999999999",
			"! limit = 99999999999999999999: does not fit 64 bits"},
		{COUNT, "1\n\x1b[31mx",
			"! r = 1??[31mx: must be a whole number; '??[31mx' is left over"},
		{BYTES, "8X",
			"! limit = 8X: must be a size such as 512, 64K or 8GiB; 'X' is left over"},
	};
	struct hone_option newer = rows[COUNT];
	struct hn_arena arena = {0};
	struct hn_option_ground ground = {.dir = "/", .arena = &arena};
	struct hn_option_value value;
	struct hone_error err = {0};
	char text[2000], *found;

	(void)state;
	EXPECT_ALL(cases);
	memset(text, '1', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	found = canonical(RATE, text);
	assert_non_null(strstr(found, "1...: has too many digits"));
	free(found);
	found = canonical(BYTES, text);
	assert_non_null(strstr(found, "1...: must be a size"));
	free(found);
	found = canonical(COUNT, text);
	assert_non_null(strstr(found, "1...: must be at least 1 and at most 4096"));
	free(found);
	for (size_t i = 0; i < 4; i++) {
		memset(text, 'x', i);
		for (size_t at = i; at + 3 < 200; at += 2)
			memcpy(text + at, "\xC3\xA4", 3);
		found = canonical(COUNT, text);
		assert_int_equal(hn_utf8_check(found, strlen(found)), strlen(found));
		free(found);
	}
	newer.type = 77;
	assert_int_equal(hn_option_parse(&newer, "1", &ground, &value, &err), HONE_EPLUGIN);
	hn_arena_fini(&arena);
}

/* Would catch: a value written to another member, or absence that looks like a value. */
static void
test_option_values_reach_their_members(void **state)
{
	static const char *const texts[N_ROWS] = {
		"yes", "constant", "16", "1K", "25%", "1e-3", "n", "p", "x, y", "q_proj"};
	struct hn_arena arena = {0};
	struct hn_option_ground ground = {.dir = "/base", .arena = &arena};
	struct hn_option_value value;
	struct hone_error err = {0};
	struct values v = {0};

	(void)state;
	for (int i = 0; i < N_ROWS; i++) {
		assert_int_equal(
			hn_option_parse(&rows[i], texts[i], &ground, &value, &err), HONE_OK);
		hn_option_store(&rows[i], &value, &v);
	}
	assert_int_equal(v.flag, 1);
	assert_int_equal(v.choice, 2);
	assert_int_equal(v.count, 16);
	assert_int_equal(v.bytes, 1024);
	assert_true(v.share == 0.25 && v.rate == 1e-3);
	assert_string_equal(v.name, "n");
	assert_string_equal(v.path, "/base/p");
	assert_int_equal(v.list.n, 2);
	assert_string_equal(v.list.items[1], "y");
	assert_null(v.sites);

	for (int i = 0; i < N_ROWS; i++) {
		assert_int_equal(hn_option_parse(&rows[i], NULL, &ground, &value, &err), HONE_OK);
		hn_option_store(&rows[i], &value, &v);
	}
	assert_int_equal(v.choice, -1);
	assert_true(v.name == NULL && v.path == NULL && v.list.n == 0 && v.count == 0);
	hn_arena_fini(&arena);
}

static enum hone_status
resolve(void *ctx, const struct hone_option *option, const char *text, const void **out,
	struct hone_error *err)
{
	if (!hn_streq(text, "q_proj"))
		return hone_fail(
			err, HONE_ENOTFOUND, "no site of %s is called '%s'", option->key, text);
	*out = ctx;
	return HONE_OK;
}

/* Would catch: a resolver that is not asked, or whose reason is lost. */
static void
test_option_sites_go_through_the_resolver(void **state)
{
	int set;
	struct hn_arena arena = {0};
	struct hn_option_ground ground = {"/", &arena, resolve, &set};
	struct hn_option_value value;
	struct hone_error err = {0};
	struct values v = {0};

	(void)state;
	assert_int_equal(hn_option_parse(&rows[SITES], "q_proj", &ground, &value, &err), HONE_OK);
	hn_option_store(&rows[SITES], &value, &v);
	assert_ptr_equal(v.sites, &set);
	assert_int_equal(hn_option_parse(&rows[SITES], "k", &ground, &value, &err), HONE_ECONFIG);
	assert_string_equal(
		err.text, "target_modules = k: no site of target_modules is called 'k'");
	hn_arena_fini(&arena);
}

/* Would catch: keys found by part of an alias, and a nearest word that is not the key's. */
static void
test_option_keys_and_aliases_are_found(void **state)
{
	struct hn_arena arena = {0};
	const char *matched = NULL;

	(void)state;
	assert_int_equal(hn_options_find(&options, "r"), COUNT);
	assert_int_equal(hn_options_find(&options, "rank"), COUNT);
	assert_int_equal(hn_options_find(&options, "lora_r"), COUNT);
	assert_int_equal(hn_options_find(&options, "lora"), -1);
	assert_int_equal(hn_options_find(&options, "rank|lora_r"), -1);
	assert_int_equal(hn_options_find(&options, ""), -1);
	assert_int_equal(hn_options_nearest(&options, "rnak", &arena, &matched), COUNT);
	assert_string_equal(matched, "rank");
	assert_int_equal(hn_options_nearest(&options, "zzzzzzzz", &arena, &matched), -1);
	hn_arena_fini(&arena);
}

/* Would catch: a row read beyond what an older plugin's header has. */
static void
test_option_shorter_rows_of_older_headers_are_read(void **state)
{
	enum { OLD = offsetof(struct hone_option, aliases) };
	_Alignas(struct hone_option) unsigned char old[2 * OLD];
	struct hone_options shorter = {OLD, 2, sizeof(struct values), (const void *)old};

	(void)state;
	memcpy(old, &rows[COUNT], OLD);
	memcpy(old + OLD, &rows[NAME], OLD);
	assert_string_equal(hn_options_at(&shorter, 1).key, "name");
	assert_null(hn_options_at(&shorter, 0).aliases);
	assert_int_equal(hn_options_find(&shorter, "rank"), -1);
}

static void
expect_refused(struct hone_option row, const char *text)
{
	const struct hone_option two[2] = {row, rows[NAME]};
	const struct hone_options table = {sizeof two[0], 2, sizeof(struct values), two};
	struct hone_error err = {0};

	assert_int_equal(hn_options_verify(&table, "x", &err), HONE_EPLUGIN);
	assert_non_null(strstr(err.text, text));
}

/* Would catch: a plugin's table that would make the host write outside its struct. */
static void
test_option_verify_refuses_unsound_tables(void **state)
{
	struct hone_option bad;
	struct hone_error err = {0};
	struct hone_options narrow = options;

	(void)state;
	assert_int_equal(hn_options_verify(&options, "x", &err), HONE_OK);
	narrow.stride = 4;
	assert_int_equal(hn_options_verify(&narrow, "x", &err), HONE_EPLUGIN);

	bad = rows[COUNT], bad.offset = sizeof(struct values) - 4;
	expect_refused(bad, "outside");
	bad = rows[COUNT], bad.offset = UINT64_MAX - 3;
	expect_refused(bad, "outside");
	bad = rows[COUNT], bad.offset = 4;
	expect_refused(bad, "aligned");
	bad = rows[COUNT], bad.type = 99;
	expect_refused(bad, "type");
	bad = rows[COUNT], bad.key = "Rank";
	expect_refused(bad, "snake");
	bad = rows[COUNT], bad.key = NULL;
	expect_refused(bad, "snake");
	bad = rows[COUNT], bad.min = 5000;
	expect_refused(bad, "min is above max");
	bad = rows[COUNT], bad.default_value = "5000";
	expect_refused(bad, "must be at least 1");
	bad = rows[COUNT], bad.aliases = "name";
	expect_refused(bad, "twice");
	bad = rows[COUNT], bad.flags = HONE_OPTION_REQUIRED;
	expect_refused(bad, "no default");
	bad = rows[COUNT], bad.help = NULL;
	expect_refused(bad, "help");
	bad = rows[COUNT], bad.choices = "a|b";
	expect_refused(bad, "choices");
	bad = rows[FLAG], bad.default_value = NULL;
	expect_refused(bad, "needs a default");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_option_good_texts_give_values),
		cmocka_unit_test(test_option_bad_texts_say_what_is_expected),
		cmocka_unit_test(test_option_extreme_texts_are_refused_whole),
		cmocka_unit_test(test_option_values_reach_their_members),
		cmocka_unit_test(test_option_sites_go_through_the_resolver),
		cmocka_unit_test(test_option_keys_and_aliases_are_found),
		cmocka_unit_test(test_option_shorter_rows_of_older_headers_are_read),
		cmocka_unit_test(test_option_verify_refuses_unsound_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
