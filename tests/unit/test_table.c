/*
 * test_table.c - keys of bytes, overwriting, growth, and the order of insertion.
 */
#include <stdio.h>

#include "base/table.h"
#include "support.h"

/* Catches: a growth that loses entries, and an order that depends on the hash. */
static void
test_table_many_keys_found_in_order(void **state)
{
	struct hn_table table = {0};
	char key[32];

	(void)state;
	for (uint64_t i = 0; i < 5000; i++) {
		(void)snprintf(key, sizeof key, "key %d", (int)(i * 7919 % 5003));
		assert_true(hn_table_set(&table, key, i));
	}
	assert_int_equal(table.n, 5000);
	for (uint64_t i = 0; i < 5000; i++) {
		(void)snprintf(key, sizeof key, "key %d", (int)(i * 7919 % 5003));
		assert_string_equal(table.entries[i].key, key);
		assert_non_null(hn_table_get(&table, key));
		assert_int_equal(*hn_table_get(&table, key), i);
	}
	assert_null(hn_table_get(&table, "key 5003"));
	hn_table_fini(&table);
	assert_int_equal(table.n, 0);
}

/* Catches: a second entry for the same key. */
static void
test_table_same_key_overwrites(void **state)
{
	struct hn_table table = {0};

	(void)state;
	assert_true(hn_table_set(&table, "a", 1));
	assert_false(hn_table_set(&table, "a", 2));
	assert_int_equal(table.n, 1);
	assert_int_equal(*hn_table_get(&table, "a"), 2);
	*hn_table_get(&table, "a") = 3;
	assert_int_equal(table.entries[0].value, 3);
	hn_table_fini(&table);
}

/* Catches: keys that end at a NUL, and the empty key being "absent". */
static void
test_table_bytes_and_empty_keys_differ(void **state)
{
	struct hn_table table = {0};

	(void)state;
	assert_null(hn_table_find(&table, "", 0));
	assert_true(hn_table_put(&table, "a\0b", 3, 1));
	assert_true(hn_table_put(&table, "a\0c", 3, 2));
	assert_true(hn_table_put(&table, "a", 1, 3));
	assert_true(hn_table_put(&table, NULL, 0, 4));
	assert_int_equal(*hn_table_find(&table, "a\0b", 3), 1);
	assert_int_equal(*hn_table_find(&table, "a\0c", 3), 2);
	assert_int_equal(*hn_table_find(&table, "a", 1), 3);
	assert_int_equal(*hn_table_get(&table, ""), 4);
	assert_int_equal(*hn_table_find(&table, NULL, 0), 4);
	hn_table_fini(&table);
}

/* Catches: a table that keeps the caller's pointer. */
static void
test_table_key_of_a_changed_buffer_stays(void **state)
{
	struct hn_table table = {0};
	char key[] = "abc";

	(void)state;
	(void)hn_table_set(&table, key, 1);
	key[0] = 'x';
	assert_non_null(hn_table_get(&table, "abc"));
	assert_null(hn_table_get(&table, key));
	hn_table_fini(&table);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_many_keys_found_in_order),
		cmocka_unit_test(test_table_same_key_overwrites),
		cmocka_unit_test(test_table_bytes_and_empty_keys_differ),
		cmocka_unit_test(test_table_key_of_a_changed_buffer_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
