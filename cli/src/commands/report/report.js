(function () {
  "use strict";
  document.querySelectorAll("svg.cells").forEach(function (map) {
    var read = map.closest("section").querySelector(".read"), d = map.dataset;
    if (!read) return;
    var cols = +d.cols, per = +d.per, pages = +d.pages, names = JSON.parse(d.names), shares = d.shares === "yes", cells = [];
    d.cells.split(" ").forEach(function (text) {
      var kinds = [];
      text.replace(/([a-z])(\d*)/g, function (_, letter, count) {
        kinds.push([letter.charCodeAt(0) - 97, +(count || 1)]);
      });
      if (shares) return cells.push(kinds);
      for (var n = kinds.length ? kinds[0][1] : 0; n > 0; n--) cells.push(kinds);
    });
    var hit = document.createElementNS("http://www.w3.org/2000/svg", "rect"), hint = read.textContent;
    hit.setAttribute("class", "hit");
    hit.setAttribute("width", shares ? "1" : ".88");
    hit.setAttribute("height", shares ? map.viewBox.baseVal.height : ".88");
    function share(part, all) {
      var of = part / all * 100;
      return (of < 0.1 ? "<0.1" : of < 9.95 ? of.toFixed(1) : part < all ? Math.min(of, 99).toFixed(0) : "100") + "%";
    }
    function what(kinds, count) {
      if (!shares) return names[kinds[0][0]];
      return kinds.slice().sort(function (a, b) { return b[1] - a[1]; }).map(function (kind) {
        return share(kind[1], count) + " " + names[kind[0]];
      }).join(", ");
    }
    function show(event) {
      var box = map.getBoundingClientRect(), view = map.viewBox.baseVal;
      var x = Math.floor((event.clientX - box.left) / box.width * view.width);
      var y = shares ? 0 : Math.floor((event.clientY - box.top) / box.height * view.height), at = y * cols + x;
      if (x < 0 || x >= cols || at < 0 || at >= cells.length) return hide();
      var first = at * per, last = Math.min(first + per, pages) - 1;
      read.textContent = (first === last ? "page " + first : "pages " + first + " to " + last) + ": " + what(cells[at], last - first + 1);
      hit.setAttribute("x", x);
      hit.setAttribute("y", y);
      map.appendChild(hit);
    }
    function hide() {
      read.textContent = hint;
      hit.remove();
    }
    map.addEventListener("pointermove", show);
    map.addEventListener("pointerdown", show);
    map.addEventListener("pointerleave", hide);
  });
})();
