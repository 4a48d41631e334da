(function () {
  "use strict";
  var map = document.querySelector("svg.cells"), read = document.querySelector(".read");
  if (!map || !read) return;
  var d = map.dataset, cols = +d.cols, per = +d.per, pages = +d.pages, names = JSON.parse(d.names), cells = [];
  d.cells.split(" ").forEach(function (run) {
    var m = /^([a-z])(\d*)$/.exec(run);
    if (m) for (var n = +(m[2] || 1); n > 0; n--) cells.push(m[1].charCodeAt(0) - 97);
  });
  var hit = document.createElementNS("http://www.w3.org/2000/svg", "rect"), hint = read.textContent;
  hit.setAttribute("class", "hit");
  hit.setAttribute("width", ".88");
  hit.setAttribute("height", ".88");
  function show(event) {
    var box = map.getBoundingClientRect(), view = map.viewBox.baseVal;
    var x = Math.floor((event.clientX - box.left) / box.width * view.width);
    var y = Math.floor((event.clientY - box.top) / box.height * view.height), at = y * cols + x;
    if (x < 0 || x >= cols || at < 0 || at >= cells.length) return hide();
    var first = at * per, last = Math.min(first + per, pages) - 1;
    read.textContent = (first === last ? "page " + first : "pages " + first + " to " + last) + ": " + names[cells[at]];
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
})();
