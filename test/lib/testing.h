/* test/lib/testing.h - cmocka with the headers that it wants before it. */
#ifndef TEST_LIB_TESTING_H
#define TEST_LIB_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A folder of a test's own under /tmp. */
#define TEST_FOLDER_MAX 64
void test_folder_make(char dir[TEST_FOLDER_MAX], const char *name);
/** test_folder_remove() - with all that is in it. Return: 0, for a teardown function */
int test_folder_remove(const char *dir);

#define RUN_TESTS(tests) cmocka_run_group_tests(tests, NULL, NULL)

#endif
