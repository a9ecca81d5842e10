import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/** Fidelity's 4-byte id for a Java producer: copy `seed` and `id` into your code. */
public final class Fid {
    private static final int P1 = 0x9E3779B1, P2 = 0x85EBCA77, P3 = 0xC2B2AE3D,
            P4 = 0x27D4EB2F, P5 = 0x165667B1;

    /** The seed of one producer; compute it once. */
    static int seed(String stream, String origin) {
        return xxh32((stream + '\u001f' + origin).getBytes(StandardCharsets.UTF_8), 0);
    }

    /** The id of one record. Java's int arithmetic is modulo 2^32 already; so is the sequence. */
    static int id(int sequence, int seed) {
        return avalanche(Integer.rotateLeft(seed + P5 + 4 + sequence * P3, 17) * P4);
    }

    /** What a text line or a JSON member carries. */
    static String hex(int id) {
        return String.format("%08x", id);
    }

    /** What a Kafka header carries. */
    static byte[] header(int id) {
        return new byte[] {(byte) (id >>> 24), (byte) (id >>> 16), (byte) (id >>> 8), (byte) id};
    }

    static int xxh32(byte[] data, int seed) {
        int at = 0;
        int mixed;
        if (data.length >= 16) {
            int[] lanes = {seed + P1 + P2, seed + P2, seed, seed - P1};
            for (; at + 16 <= data.length; at += 16) {
                for (int lane = 0; lane < 4; lane++) {
                    lanes[lane] += word(data, at + 4 * lane) * P2;
                    lanes[lane] = Integer.rotateLeft(lanes[lane], 13) * P1;
                }
            }
            mixed = Integer.rotateLeft(lanes[0], 1) + Integer.rotateLeft(lanes[1], 7)
                    + Integer.rotateLeft(lanes[2], 12) + Integer.rotateLeft(lanes[3], 18);
        } else {
            mixed = seed + P5;
        }
        mixed += data.length;
        for (; at + 4 <= data.length; at += 4) {
            mixed = Integer.rotateLeft(mixed + word(data, at) * P3, 17) * P4;
        }
        for (; at < data.length; at++) {
            mixed = Integer.rotateLeft(mixed + (data[at] & 0xFF) * P5, 11) * P1;
        }
        return avalanche(mixed);
    }

    private static int avalanche(int mixed) {
        mixed = (mixed ^ (mixed >>> 15)) * P2;
        mixed = (mixed ^ (mixed >>> 13)) * P3;
        return mixed ^ (mixed >>> 16);
    }

    private static int word(byte[] data, int at) {
        return (data[at] & 0xFF) | (data[at + 1] & 0xFF) << 8
                | (data[at + 2] & 0xFF) << 16 | (data[at + 3] & 0xFF) << 24;
    }

    /** Checks itself: reads `stream TAB origin TAB sequence` lines, prints one id a line. */
    public static void main(String[] arguments) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line; (line = lines.readLine()) != null; ) {
            String[] part = line.split("\t", -1);
            out.println(hex(id(Integer.parseUnsignedInt(part[2]), seed(part[0], part[1]))));
        }
        out.flush();
    }
}
