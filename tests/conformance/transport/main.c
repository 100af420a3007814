#include "trant.h"

int main(int argc, char **argv)
{
    trant_child(argc, argv);
    Suite *suite = suite_create(trant_scheme_under_test.name);
    trant_add_dial_tests(suite);
    trant_add_data_tests(suite);
    trant_add_flow_tests(suite);
    trant_add_peer_tests(suite);
    return fwt_main(suite);
}
