/* ip over the malloc back end of packet, in virtual time. */
#include "frames.h"

int main(void)
{
    int failed = _cmocka_run_group_tests("input", input_tests, input_test_count, NULL, NULL);
    failed += _cmocka_run_group_tests("output", output_tests, output_test_count, NULL, NULL);
    failed += _cmocka_run_group_tests("neighbour", neighbour_tests, neighbour_test_count, NULL, NULL);
    failed += _cmocka_run_group_tests("owner", owner_tests, owner_test_count, NULL, NULL);
    failed += _cmocka_run_group_tests("reassembly", reassembly_tests, reassembly_test_count, NULL, NULL);
    failed += _cmocka_run_group_tests("error", error_tests, error_test_count, NULL, NULL);
    failed += _cmocka_run_group_tests("trial", trial_tests, trial_test_count, NULL, NULL);
    return failed;
}
