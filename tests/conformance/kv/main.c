/* One program for each driver, with its driver_NAME.c. */
#include "kvt.h"

int main(void)
{
    return kvt_main(&kvt_this_driver);
}
