/*
 * support.h - what every test includes: cmocka with what it needs, and paths.
 */
#ifndef HN_TEST_SUPPORT_H
#define HN_TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* tests/data/<name>; the caller frees. */
char *test_data_path(const char *name);

/* A fresh folder under the system's temporary folder; removed by test_folder_remove. */
char *test_folder_make(void);
void test_folder_remove(char *path);

#endif
