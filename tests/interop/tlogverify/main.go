// Command tlogverify judges what Tallystick writes by code that is not Tallystick's.
//
// It uses golang.org/x/mod/sumdb/note for signed notes, transparency-dev/formats for checkpoints,
// cosignatures and tlog-proofs, transparency-dev/merkle for the tree, and golang.org/x/mod/sumdb/tlog as a
// second opinion on it. Nothing here was taken from the Python.
//
//	tlogverify DIR
//
// DIR holds vkey, origin, and as many as there are of: witness, checkpoint, old-checkpoint, consistency
// (base64 hashes, one a line), tile/…, receipts/*.tlog-proof with receipts/*.jws beside them. One line is
// printed for each thing that holds, "ok <what>"; the first one that does not ends the program with exit
// code 1 and "refuted <what>: <why>".
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	flog "github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	fproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileWidth = 256

// entry is what the ledger hashes, as docs/formats/entry.md describes it.
type entry struct {
	Keys       uint64 `json:"keys"`
	Kind       string `json:"kind"`
	Prev       []byte `json:"prev"`
	RecordedAt string `json:"recorded_at"`
	Seq        uint64 `json:"seq"`
	Statement  []byte `json:"statement"`
}

type world struct {
	dir       string
	origin    string
	log       note.Verifier
	witnesses []note.Verifier
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: tlogverify DIR")
		os.Exit(2)
	}
	w := open(os.Args[1])
	cp := w.checkpoint("checkpoint")
	w.consistency(cp)
	w.tiles(cp)
	w.receipts()
}

func open(dir string) *world {
	w := &world{dir: dir}
	w.origin = strings.TrimSuffix(string(w.read("origin")), "\n")
	v, err := note.NewVerifier(strings.TrimSpace(string(w.read("vkey"))))
	must("vkey", err)
	w.log = v
	if raw, err := os.ReadFile(filepath.Join(dir, "witness")); err == nil {
		v, err := fnote.NewVerifierForCosignatureV1(strings.TrimSpace(string(raw)))
		must("witness", err)
		w.witnesses = append(w.witnesses, v)
	}
	return w
}

func (w *world) read(name string) []byte {
	raw, err := os.ReadFile(filepath.Join(w.dir, name))
	must(name, err)
	return raw
}

// parse opens a signed checkpoint; every pinned witness must have signed as well.
func (w *world) parse(what string, raw []byte) *flog.Checkpoint {
	cp, rest, n, err := flog.ParseCheckpoint(raw, w.origin, w.log, w.witnesses...)
	must(what, err)
	if len(rest) != 0 {
		refute(what, "extension lines: %q", rest)
	}
	if len(n.Sigs) != 1+len(w.witnesses) {
		refute(what, "%d good signature lines, wanted %d", len(n.Sigs), 1+len(w.witnesses))
	}
	if !bytes.Equal(cp.Marshal(), []byte(n.Text)) {
		refute(what, "the text is not in its one spelling")
	}
	return cp
}

func (w *world) checkpoint(name string) *flog.Checkpoint {
	cp := w.parse(name, w.read(name))
	ok("%s of size %d", name, cp.Size)
	return cp
}

func (w *world) consistency(cp *flog.Checkpoint) {
	raw, err := os.ReadFile(filepath.Join(w.dir, "old-checkpoint"))
	if err != nil {
		return
	}
	old := w.parse("old-checkpoint", raw)
	var path [][]byte
	var second tlog.TreeProof
	for _, line := range strings.Fields(string(w.read("consistency"))) {
		hash, err := base64.StdEncoding.DecodeString(line)
		must("consistency", err)
		path = append(path, hash)
		second = append(second, tlog.Hash(hash))
	}
	must("consistency", proof.VerifyConsistency(rfc6962.DefaultHasher, old.Size, cp.Size, path, old.Hash, cp.Hash))
	must("consistency (tlog)", tlog.CheckTree(second, int64(cp.Size), tlog.Hash(cp.Hash), int64(old.Size), tlog.Hash(old.Hash)))
	ok("consistency from %d to %d", old.Size, cp.Size)
}

// tilePath is the path of tlog-tiles: level, index in groups of three digits, width if partial.
func tilePath(level string, index, width uint64) string {
	text := fmt.Sprintf("%03d", index%1000)
	for index >= 1000 {
		index /= 1000
		text = fmt.Sprintf("x%03d/%s", index%1000, text)
	}
	if width < tileWidth {
		text = fmt.Sprintf("%s.p/%d", text, width)
	}
	return filepath.Join("tile", level, text)
}

// tiles reads the whole log, entries first, and computes every tile and the root from them.
func (w *world) tiles(cp *flog.Checkpoint) {
	if _, err := os.Stat(filepath.Join(w.dir, "tile")); err != nil {
		return
	}
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	tree := factory.NewEmptyRange(0)
	levels := [][]byte{nil}
	prev := make([]byte, sha256.Size)
	var seq, keys uint64
	var moment string
	for index := uint64(0); index*tileWidth < cp.Size; index++ {
		width := min(tileWidth, cp.Size-index*tileWidth)
		path := tilePath("entries", index, width)
		data := w.read(path)
		for range width {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				refute(path, "ends within an entry")
			}
			raw := data[2 : 2+binary.BigEndian.Uint16(data)]
			data = data[2+len(raw):]
			leaf := rfc6962.DefaultHasher.HashLeaf(raw)
			must(path, tree.Append(leaf, nil))
			levels[0] = append(levels[0], leaf...)
			e := parseEntry(path, raw)
			if e.Seq != seq || !bytes.Equal(e.Prev, prev) || e.Keys != keys || e.RecordedAt < moment {
				refute(path, "entry %d is not chained to the one before it", seq)
			}
			if e.Kind == "key" || e.Kind == "genesis" {
				keys = seq
			}
			prev, moment, seq = leaf, e.RecordedAt, seq+1
		}
		if len(data) != 0 {
			refute(path, "%d bytes behind the last entry", len(data))
		}
	}
	root, err := tree.GetRootHash(nil)
	must("tiles", err)
	if !bytes.Equal(root, cp.Hash) {
		refute("tiles", "the entries have root %x, the checkpoint says %x", root, cp.Hash)
	}
	for level := 0; len(levels[level]) > 0; level++ {
		levels = append(levels, nil)
		hashes := levels[level]
		for index := uint64(0); len(hashes) > 0; index++ {
			tile := hashes[:min(len(hashes), tileWidth*sha256.Size)]
			hashes = hashes[len(tile):]
			width := uint64(len(tile) / sha256.Size)
			path := tilePath(fmt.Sprint(level), index, width)
			if !bytes.Equal(w.read(path), tile) {
				refute(path, "holds other hashes than the entries give")
			}
			if width == tileWidth {
				r := factory.NewEmptyRange(0)
				for i := 0; i < len(tile); i += sha256.Size {
					must(path, r.Append(tile[i:i+sha256.Size], nil))
				}
				above, err := r.GetRootHash(nil)
				must(path, err)
				levels[level+1] = append(levels[level+1], above...)
			}
			ok("%s", path)
		}
	}
}

func parseEntry(what string, raw []byte) entry {
	var e entry
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	must(what, decoder.Decode(&e))
	// Members in the order of their names, no space: for what an entry holds this is RFC 8785.
	again, err := json.Marshal(e)
	must(what, err)
	if !bytes.Equal(again, raw) {
		refute(what, "an entry that is not canonical: %s", raw)
	}
	return e
}

func (w *world) receipts() {
	files, err := filepath.Glob(filepath.Join(w.dir, "receipts", "*.tlog-proof"))
	must("receipts", err)
	for _, file := range files {
		name := filepath.Base(file)
		raw := w.read(filepath.Join("receipts", name))
		var p fproof.TLogProof
		must(name, p.Unmarshal(raw))
		if !bytes.Equal(p.Marshal(), raw) {
			refute(name, "written again it is other bytes")
		}
		cp := w.parse(name, p.Checkpoint)
		leaf := rfc6962.DefaultHasher.HashLeaf(p.ExtraData)
		var path [][]byte
		var second tlog.RecordProof
		for _, hash := range p.Hashes {
			path = append(path, hash[:])
			second = append(second, tlog.Hash(hash))
		}
		must(name, proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, cp.Size, leaf, path, cp.Hash))
		must(name+" (tlog)", tlog.CheckRecord(second, int64(cp.Size), tlog.Hash(cp.Hash), int64(p.Index), tlog.Hash(leaf)))
		e := parseEntry(name, p.ExtraData)
		digest := sha256.Sum256(w.read(filepath.Join("receipts", strings.TrimSuffix(name, ".tlog-proof")+".jws")))
		if e.Seq != p.Index || !bytes.Equal(e.Statement, digest[:]) {
			refute(name, "the entry is about another place or another statement")
		}
		ok("%s at %d of %d", name, p.Index, cp.Size)
	}
}

func ok(format string, args ...any) {
	fmt.Printf("ok "+format+"\n", args...)
}

func must(what string, err error) {
	if err != nil {
		refute(what, "%v", err)
	}
}

func refute(what, format string, args ...any) {
	why := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	fmt.Printf("refuted %s: %s\n", what, why)
	os.Exit(1)
}
