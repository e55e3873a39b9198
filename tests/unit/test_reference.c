#include "op_cases.h"
#include "support.h"
#include <string.h>

/* Guard bands, live rows, inputs. */
static void
test_reference_all_cases_keep_their_memory(void **state)
{
	static const int32_t types[] = {HONE_DTYPE_F32, HONE_DTYPE_BF16, HONE_DTYPE_F64};
	struct ops_device reference;
	struct op_cases cases;
	char why[OPS_WHY];

	(void)state;
	assert_true(ops_open_reference(&reference));
	assert_true(op_cases_init(&cases));
	for (size_t i = 0; i < cases.n; i++)
		for (size_t k = 0; k < 3; k++) {
			struct ops_data data;

			if (!ops_data_init(&data, &cases.items[i], types[k]))
				fail_msg("%s: forward", cases.items[i].name);
			if (!ops_run(&reference, &cases.items[i], types[k], &data, why))
				fail_msg("%s %s: %s", cases.items[i].name, hone_dtype_name(types[k]), why);
			ops_data_fini(&data);
		}
	print_message("%zu cases\n", cases.n);
	op_cases_fini(&cases);
	ops_close(&reference);
}
int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference_all_cases_keep_their_memory)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
