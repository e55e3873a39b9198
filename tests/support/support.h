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

/* A fresh folder under the system's temporary folder; removed by test_folder_remove, or by the
 * next test where this one is killed. */
char *test_folder_make(void);
/* The same in memory where the system has a folder for that: a process that is killed loses
 * nothing there either, and hundreds of synced files are not waited for. */
char *test_folder_make_in_memory(void);
void test_folder_remove(char *path);

#endif
