/*
 * test_malformed_safetensors.c - safetensors files with one fault each.
 *
 * A fault is a header's text with a number of data bytes behind it.  The numbers are those of
 * the catalogue of bad inputs: 36-42, 44-47 and 67.  Would catch: a reader that accepts one of
 * them and computes with wrong numbers or reads out of bounds.
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "modelfile.h"
#include "refused.h"

#include "model/safetensors.h"

static const char valid_header[] =
	"{\"__metadata__\":{\"format\":\"pt\"},"
	"\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
	"\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[16,24]}}  ";

#define A(shape, offsets)                                                                          \
	"{\"a\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define AB(offsets_a, offsets_b)                                                                   \
	"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":" offsets_a "},"                 \
	"\"b\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":" offsets_b "}}"

static const struct {
	const char *fault;
	const char *header;
	size_t n_data;
	const char *cause;
} headers[] = {
	{"38 not an object", "[1]", 0, "does not begin with '{'"},
	{"38 leading space", " {}", 0, "does not begin with '{'"},
	{"38 not UTF-8", "{\"\xff\":1}", 0, "not UTF-8"},
	{"38 overlong UTF-8", "{\"\xc0\xaf\":1}", 0, "not UTF-8"},
	{"38 name twice",
		"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
		"\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
		2, "\"a\" stands there twice"},
	{"38 name twice by an escape",
		"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
		"\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
		2, "\"a\" stands there twice"},
	{"38 member twice",
		"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
		1, "\"dtype\" of tensor \"a\" stands there twice"},
	{"38 metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
	{"38 metadata that is no text", "{\"__metadata__\":{\"x\":1}}", 0, "not a string"},
	{"38 member missing", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "lacks data_offsets"},
	{"38 unknown member", "{\"a\":{\"type\":\"U8\"}}", 1, "unknown member \"type\""},
	{"38 cut", "{\"a\":{\"dtype\":\"U8\"", 1, "expected ',' or '}'"},
	{"38 string without end", "{\"a", 0, "does not end"},
	{"38 half a surrogate", "{\"\\ud800\":1}", 0, "surrogate"},
	{"38 NUL in a name", "{\"\\u0000\":1}", 0, "not a character"},
	{"38 text behind the object", "{} {}", 0, "after the closing brace"},
	{"38 empty name", "{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
		"empty or not UTF-8"},
	{"39 reversed", A("[4]", "[16,0]"), 16, "\"a\" are reversed"},
	{"39 overlap", AB("[0,16]", "[8,24]"), 24,
		"\"b\" begins at 8, and \"a\" before it ends at 16"},
	{"39 the same bytes twice", AB("[0,16]", "[0,16]"), 16, "overlap"},
	{"39 hole", AB("[0,16]", "[20,36]"), 36, "hole"},
	{"39 hole at the start", A("[4]", "[8,24]"), 24, "hole"},
	{"39 past the end", A("[4]", "[0,16]"), 12, "the file is cut"},
	{"39 offset 2^63", A("[4]", "[0,9223372036854775808]"), 16, "too large"},
	{"39 offset 2^64", A("[4]", "[0,18446744073709551616]"), 16, "too large"},
	{"39 bytes behind the last", A("[4]", "[0,16]"), 17, "1 bytes follow the last tensor"},
	{"39 one offset", A("[4]", "[16]"), 16, "two numbers"},
	{"39 three offsets", A("[4]", "[0,8,16]"), 16, "more than 2 numbers"},
	{"40 product overflows", A("[4294967296,4294967296]", "[0,16]"), 16, "overflows"},
	{"40 bits overflow", A("[9223372036854775807]", "[0,16]"), 16, "overflows"},
	{"40 product overflows behind a zero", A("[9223372036854775807,2,0]", "[0,0]"), 0,
		"overflows"},
	{"40 negative", A("[-4]", "[0,16]"), 16, "not negative"},
	{"40 float", A("[4.0]", "[0,16]"), 16, "whole numbers"},
	{"40 exponent", A("[4e0]", "[0,16]"), 16, "whole numbers"},
	{"40 leading zero", A("[04]", "[0,16]"), 16, "whole numbers"},
	{"40 text", A("[\"4\"]", "[0,16]"), 16, "whole numbers"},
	{"40 rank 9", A("[1,1,1,1,1,1,1,1,4]", "[0,16]"), 16, "more than 8 numbers"},
	{"41 unknown type", "{\"a\":{\"dtype\":\"F9\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4,
		"unknown type \"F9\"; known are BOOL"},
	{"41 type in lower case",
		"{\"a\":{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
		"unknown type"},
	{"42 too few bytes", A("[5]", "[0,16]"), 16, "has 16 bytes, and its shape in F32 needs 20"},
	{"42 too many bytes", A("[3]", "[0,16]"), 16, "needs 12"},
	{"42 half a byte", "{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2,
		"whole bytes"},
};

static void
test_safetensors_header_fault_is_named(void **state)
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str bytes = {0};

	(void)state;
	test_put_safetensors(&bytes, valid_header, 24);
	assert_int_equal(
		hn_safetensors_parse(&file, (uint8_t *)bytes.text, bytes.len, REFUSED_PATH, &err),
		0);
	hn_tensor_file_close(&file);
	for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
		hn_str_clear(&bytes);
		err = (struct hone_error){0};
		test_put_safetensors(&bytes, headers[i].header, headers[i].n_data);
		test_refused(hn_safetensors_parse(
				     &file, (uint8_t *)bytes.text, bytes.len, REFUSED_PATH, &err),
			&err, headers[i].fault, REFUSED_PATH, headers[i].cause);
		assert_null(file.tensors);
	}
	hn_str_fini(&bytes);
}

/* 36, 37, 44, 45, 67: what is no safetensors file at all. */
static void
test_safetensors_first_bytes_fault_is_named(void **state)
{
	static const struct {
		const char *fault, *bytes;
		size_t n;
		const char *cause;
	} cases[] = {
		{"36 empty", "", 0, "empty"},
		{"36 seven bytes", "1234567", 7, "at least 8"},
		{"37 length beyond the file", "\x40\0\0\0\0\0\0\0{}", 10,
			"header length 64 exceeds"},
		{"37 length 2^63", "\0\0\0\0\0\0\0\x80{}", 10, "header length 9223372036854775808"},
		{"37 length 2^64 - 1", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10,
			"header length 18446744073709551615 exceeds the file's 10 bytes"},
		{"44 LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
			57, "git lfs pull"},
		{"45 web page", "\n<!DOCTYPE html><html>", 22, "web page"},
		{"67 pickle", "\x80\x02}q\0.       ", 14, "convert it to safetensors"},
		{"67 zip of pickles", "PK\3\4          ", 14, "convert it to safetensors"},
		{"gzip", "\x1f\x8b          ", 12, "gunzip"},
	};
	struct hn_tensor_file file = {0};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct hone_error err = {0};

		test_refused(hn_safetensors_parse(&file, (const uint8_t *)cases[i].bytes,
				     cases[i].n, REFUSED_PATH, &err),
			&err, cases[i].fault, REFUSED_PATH, cases[i].cause);
	}
}

/* A name of a kibibyte must not push the cause out of the message. */
static void
test_safetensors_long_name_does_not_hide_the_cause(void **state)
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str header = {0}, bytes = {0};

	(void)state;
	hn_str_puts(&header, "{\"");
	for (int i = 0; i < 1024; i++)
		hn_str_putc(&header, 'n');
	hn_str_puts(&header, "\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]}}");
	test_put_safetensors(&bytes, header.text, 16);
	test_refused(
		hn_safetensors_parse(&file, (uint8_t *)bytes.text, bytes.len, REFUSED_PATH, &err),
		&err, "long name", REFUSED_PATH, "are reversed: [16, 0]");
	hn_str_fini(&bytes);
	hn_str_fini(&header);
}

/* 37: the limit of 100 MB holds although the file has the bytes. */
static void
test_safetensors_header_above_the_limit_is_refused(void **state)
{
	const size_t n = 100000001 + 8;
	uint8_t *bytes = malloc(n);
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};

	(void)state;
	assert_non_null(bytes);
	memset(bytes, ' ', n);
	memcpy(bytes, "\x01\xe1\xf5\x05\0\0\0\0{}", 10);
	test_refused(hn_safetensors_parse(&file, bytes, n, REFUSED_PATH, &err), &err, "37",
		REFUSED_PATH, "exceeds the format's limit");
	free(bytes);
}

/* 38: every cut of a valid file is refused, none crashes. */
static void
test_safetensors_cut_anywhere_is_refused(void **state)
{
	struct hn_tensor_file file = {0};
	struct hn_str bytes = {0};

	(void)state;
	test_put_safetensors(&bytes, valid_header, 24);
	for (size_t n = 0; n < bytes.len; n++) {
		struct hone_error err = {0};
		uint8_t *cut = malloc(n + 1);

		memcpy(cut, bytes.text, n);
		test_refused(hn_safetensors_parse(&file, cut, n, REFUSED_PATH, &err), &err, "cut",
			REFUSED_PATH, "");
		free(cut);
	}
	hn_str_fini(&bytes);
}

/* 46: a weight that is not finite. */
static void
test_safetensors_weight_not_finite_names_tensor_count_and_index(void **state)
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str bytes = {0};
	float *values;

	(void)state;
	test_put_safetensors(&bytes, A("[4]", "[0,16]"), 0);
	test_put_f32(&bytes, 1);
	test_put_f32(&bytes, 2);
	test_put_f32(&bytes, 3);
	test_put_f32(&bytes, 4);
	assert_int_equal(
		hn_safetensors_parse(&file, (uint8_t *)bytes.text, bytes.len, REFUSED_PATH, &err),
		0);
	assert_int_equal(hn_tensor_check_finite(&file, &file.tensors[0], &err), HONE_OK);
	values = (float *)(void *)(bytes.text + bytes.len - 16);
	memcpy(&values[1], &(float){NAN}, sizeof(float));
	memcpy(&values[3], &(float){-INFINITY}, sizeof(float));
	test_refused(hn_tensor_check_finite(&file, &file.tensors[0], &err), &err, "46",
		REFUSED_PATH,
		"\"a\" holds 2 values that are NaN or infinite, the first at element 1");
	hn_tensor_file_close(&file);
	hn_str_fini(&bytes);
}

/* 47: a tensor that is missing or of another shape. */
static void
test_safetensors_tensor_missing_or_of_other_shape_is_named(void **state)
{
	const struct hn_tensor_info *tensor;
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str bytes = {0};

	(void)state;
	test_put_safetensors(&bytes, valid_header, 24);
	assert_int_equal(
		hn_safetensors_parse(&file, (uint8_t *)bytes.text, bytes.len, REFUSED_PATH, &err),
		0);
	test_refused(hn_tensor_file_expect(&file, "c", 1, (int64_t[]){4}, &tensor, &err), &err,
		"47 missing", REFUSED_PATH, "\"c\" is missing");
	test_refused(hn_tensor_file_expect(&file, "a", 2, (int64_t[]){2, 3}, &tensor, &err), &err,
		"47 shape", REFUSED_PATH, "\"a\" is [2, 2], and the configuration asks for [2, 3]");
	hn_tensor_file_close(&file);
	hn_str_fini(&bytes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_safetensors_header_fault_is_named),
		cmocka_unit_test(test_safetensors_first_bytes_fault_is_named),
		cmocka_unit_test(test_safetensors_long_name_does_not_hide_the_cause),
		cmocka_unit_test(test_safetensors_header_above_the_limit_is_refused),
		cmocka_unit_test(test_safetensors_cut_anywhere_is_refused),
		cmocka_unit_test(test_safetensors_weight_not_finite_names_tensor_count_and_index),
		cmocka_unit_test(test_safetensors_tensor_missing_or_of_other_shape_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
