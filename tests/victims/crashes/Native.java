import java.lang.reflect.Field;
import sun.misc.Unsafe;

/** A write to nowhere from compiled Java. */
public class Native {
    static void reach(Unsafe unsafe, int depth) {
        if (depth == 0) unsafe.putInt(16L, 1);
        else reach(unsafe, depth - 1);
    }

    public static void main(String[] words) throws Exception {
        Field field = Unsafe.class.getDeclaredField("theUnsafe");
        field.setAccessible(true);
        reach((Unsafe) field.get(null), 3);
    }
}
