draw.js
