/* A thread with a ring of its own, and a neighbour that records a hundred times the pool. */
#define FT_PROVIDER "test"
#include <foretrace.h>

#include <pthread.h>
#include <stdio.h>

#define POOL (256u << 10)

static void *make_noise(void *unused)
{
    for (uint64_t i = 0; i < 100 * POOL / 24; i++)
        ft_event(FT_INFO, "noise", ft_u64("number", i), ft_u64("more", i));
    return unused;
}

int main(void)
{
    pthread_t noisy;

    ft_start_with(POOL);
    printf("%d %d", ft_own_ring(POOL), ft_own_ring(48 << 10));
    printf(" %d\n", ft_own_ring(48 << 10));
    for (uint64_t i = 0; i < 1000; i++)
        ft_event(FT_INFO, "quiet", ft_u64("number", i));
    if (pthread_create(&noisy, NULL, make_noise, NULL) == 0)
        pthread_join(noisy, NULL);
    ft_event(FT_INFO, "silence");
    fflush(stdout);
    getchar();
    return 0;
}
