// object: crashes in a method with locals, for debuggers that open the report.
struct Till {
    int drawer;
    long cents;
    int *slot;

    __attribute__((noinline)) void pay(int amount)
    {
        long change = amount - 42;
        cents += change;
        *slot = amount;
    }
};

int main()
{
    Till till = {7, 1250, nullptr};
    till.pay(100);
    return static_cast<int>(till.cents);
}
