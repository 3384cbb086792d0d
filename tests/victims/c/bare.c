/* bare [NAME]: a program without libraries, which so runs for any user and in any root directory. It takes NAME as
   its command name and dereferences a null pointer. */
#include <stddef.h>
#include <sys/prctl.h>

int main(int argc, char **argv)
{
    if (argc > 1 && prctl(PR_SET_NAME, argv[1]) != 0)
        return 2;
    volatile int *volatile nowhere = NULL;
    *nowhere = 1;
    return 2;
}
