package status

// The 15 statuses. Their numbers are part of the wire format and never change.
const (
	Unknown            Status = 0  // Unknown
	Pending            Status = 1  // Pending
	InfoReceived       Status = 2  // Information received
	PickedUp           Status = 3  // Picked up
	InTransit          Status = 4  // In transit
	Customs            Status = 5  // Customs
	OutForDelivery     Status = 6  // Out for delivery
	AvailableForPickup Status = 7  // Available for pickup
	DeliveryFailed     Status = 8  // Delivery failed
	Delivered          Status = 9  // Delivered
	Exception          Status = 10 // Exception
	Returning          Status = 11 // Returning
	Returned           Status = 12 // Returned
	Cancelled          Status = 13 // Cancelled
	Expired            Status = 14 // Expired
)

// The 109 sub-statuses. A number is its status times 100 plus its place in the
// group; numbers are part of the wire format and never change.
const (
	UnknownUnspecified Sub = 1 // Unknown

	PendingRegistered    Sub = 101 // Registered, waiting for the carrier's first report
	PendingNoData        Sub = 102 // The carrier has no information yet
	PendingInvalidNumber Sub = 103 // The carrier does not know this number
	PendingNeedsInfo     Sub = 104 // The carrier asks for more, such as the last digits of a phone number

	InfoReceivedOrderCreated    Sub = 201 // Order created
	InfoReceivedLabelCreated    Sub = 202 // Label created
	InfoReceivedPickupScheduled Sub = 203 // Pickup scheduled
	InfoReceivedPickupFailed    Sub = 204 // Pickup failed
	InfoReceivedPreparing       Sub = 205 // Being prepared by the sender

	PickedUpCollected  Sub = 301 // Collected by the courier
	PickedUpDroppedOff Sub = 302 // Dropped off by the sender
	PickedUpAccepted   Sub = 303 // Accepted at the carrier's counter

	InTransitMoving                    Sub = 401 // On its way
	InTransitDeparted                  Sub = 402 // Left a facility
	InTransitArrived                   Sub = 403 // Arrived at a facility
	InTransitProcessed                 Sub = 404 // Processed at a facility
	InTransitLineHaulDeparted          Sub = 405 // Line haul departed
	InTransitLineHaulArrived           Sub = 406 // Line haul arrived
	InTransitLeftOriginCountry         Sub = 407 // Left the country of origin
	InTransitArrivedDestinationCountry Sub = 408 // Arrived in the destination country
	InTransitArrivedDestinationCity    Sub = 409 // Arrived in the destination city
	InTransitAtDeliveryOffice          Sub = 410 // At the delivery office
	InTransitHandedOver                Sub = 411 // Handed over to another carrier
	InTransitRedirected                Sub = 412 // Redirected to another address
	InTransitHeldAtFacility            Sub = 413 // Held at a facility
	InTransitSecurityCheck             Sub = 414 // Security check
	InTransitResumed                   Sub = 415 // Transport resumed

	CustomsExportPresented Sub = 501 // Presented to export customs
	CustomsExportHeld      Sub = 502 // Held by export customs
	CustomsExportCleared   Sub = 503 // Export customs cleared
	CustomsInClearance     Sub = 504 // In customs clearance
	CustomsInspection      Sub = 505 // Customs inspection
	CustomsHeld            Sub = 506 // Held by customs
	CustomsInfoRequired    Sub = 507 // Customs asks for documents or details
	CustomsPaymentRequired Sub = 508 // Customs duty to be paid
	CustomsDutyPaid        Sub = 509 // Customs duty paid
	CustomsDelayed         Sub = 510 // Customs clearance delayed
	CustomsCleared         Sub = 511 // Customs cleared
	CustomsRejected        Sub = 512 // Rejected by customs

	OutForDeliveryOnVehicle     Sub = 601 // With the courier for delivery
	OutForDeliveryAppointment   Sub = 602 // Delivery appointment made
	OutForDeliveryNotified      Sub = 603 // Recipient notified before delivery
	OutForDeliveryToPickupPoint Sub = 604 // On its way to a pickup point
	OutForDeliveryRetrieved     Sub = 605 // Taken out of the locker to be delivered again

	AvailableForPickupPickupPoint    Sub = 701 // At a pickup point
	AvailableForPickupLocker         Sub = 702 // In a parcel locker
	AvailableForPickupCarrierCounter Sub = 703 // At the carrier's counter
	AvailableForPickupOverdue        Sub = 704 // Pickup overdue

	DeliveryFailedAttempted            Sub = 801 // Delivery attempted
	DeliveryFailedRecipientAbsent      Sub = 802 // Recipient absent
	DeliveryFailedRecipientUnreachable Sub = 803 // Recipient cannot be reached
	DeliveryFailedAddressProblem       Sub = 804 // Address incomplete or wrong
	DeliveryFailedRefused              Sub = 805 // Refused by the recipient
	DeliveryFailedBusinessClosed       Sub = 806 // Business closed
	DeliveryFailedRescheduled          Sub = 807 // Delivery rescheduled
	DeliveryFailedNoAccess             Sub = 808 // No access to the address
	DeliveryFailedPaymentDue           Sub = 809 // Payment due on delivery
	DeliveryFailedSecurity             Sub = 810 // Delivery failed for security reasons

	DeliveredUnspecified    Sub = 901 // Delivered
	DeliveredRecipient      Sub = 902 // Delivered to the recipient
	DeliveredOtherPerson    Sub = 903 // Delivered to another person
	DeliveredNeighbour      Sub = 904 // Delivered to a neighbour
	DeliveredFrontDesk      Sub = 905 // Delivered to the front desk
	DeliveredLocker         Sub = 906 // Delivered into a locker
	DeliveredCollected      Sub = 907 // Collected from a locker or pickup point
	DeliveredSafePlace      Sub = 908 // Left in a safe place
	DeliveredMailbox        Sub = 909 // Delivered into the mailbox
	DeliveredCashCollected  Sub = 910 // Delivered, cash on delivery collected
	DeliveredPartial        Sub = 911 // Partly delivered
	DeliveredAfterException Sub = 912 // Delivered after an exception
	DeliveredDamaged        Sub = 913 // Delivered damaged

	ExceptionUnspecified        Sub = 1001 // Exception
	ExceptionDelayed            Sub = 1002 // Delayed
	ExceptionWeather            Sub = 1003 // Delayed by weather
	ExceptionCarrierIssue       Sub = 1004 // Problem at the carrier
	ExceptionMissorted          Sub = 1005 // Missorted
	ExceptionDamaged            Sub = 1006 // Damaged
	ExceptionLost               Sub = 1007 // Lost
	ExceptionDestroyed          Sub = 1008 // Destroyed
	ExceptionAddressProblem     Sub = 1009 // Address problem
	ExceptionRecipientMoved     Sub = 1010 // Recipient moved
	ExceptionHeld               Sub = 1011 // Held
	ExceptionPaymentRequired    Sub = 1012 // Payment required
	ExceptionDocumentsMissing   Sub = 1013 // Documents missing
	ExceptionProhibited         Sub = 1014 // Prohibited goods
	ExceptionSeized             Sub = 1015 // Seized
	ExceptionSecurity           Sub = 1016 // Security exception
	ExceptionIntercepted        Sub = 1017 // Intercepted at the sender's request
	ExceptionUnclaimed          Sub = 1018 // Unclaimed
	ExceptionNoMovement         Sub = 1019 // No movement for a long time
	ExceptionNotDeliveredInTime Sub = 1020 // Not delivered in time
	ExceptionNoPickupScan       Sub = 1021 // No pickup scan after dispatch
	ExceptionOutOfArea          Sub = 1022 // Out of the service area
	ExceptionUnderInvestigation Sub = 1023 // Under investigation
	ExceptionClaimPaid          Sub = 1024 // Claim paid

	ReturningInitiated          Sub = 1101 // Return initiated
	ReturningInTransit          Sub = 1102 // Return in transit
	ReturningUndelivered        Sub = 1103 // Return not yet delivered to the sender
	ReturningAvailableForPickup Sub = 1104 // Return available for pickup by the sender
	ReturningFailed             Sub = 1105 // Return failed

	ReturnedToSender    Sub = 1201 // Returned to the sender
	ReturnedToWarehouse Sub = 1202 // Returned to a warehouse

	CancelledUnspecified Sub = 1301 // Cancelled
	CancelledBySender    Sub = 1302 // Cancelled by the sender
	CancelledByRecipient Sub = 1303 // Cancelled by the recipient
	CancelledByCarrier   Sub = 1304 // Cancelled by the carrier

	ExpiredNoUpdates Sub = 1401 // No updates for a long time
	ExpiredStopped   Sub = 1402 // Tracking stopped
)

type row struct {
	code   string // within its status
	en, zh string
}

type group struct {
	row
	rank int
	subs []row
}

// table is indexed by Status; the place in subs is the sub-status number modulo 100, minus one.
var table = [...]group{
	Unknown: {row{"unknown", "Unknown", "未知"}, 0, []row{
		{"unspecified", "Unknown", "未知"},
	}},
	Pending: {row{"pending", "Pending", "待查询"}, 10, []row{
		{"registered", "Registered, waiting for the carrier's first report", "已登记，等待承运商数据"},
		{"no_data", "The carrier has no information yet", "暂无轨迹"},
		{"invalid_number", "The carrier does not know this number", "单号无效"},
		{"needs_info", "The carrier asks for more, such as the last digits of a phone number", "需补充信息"},
	}},
	InfoReceived: {row{"info_received", "Information received", "已下单"}, 20, []row{
		{"order_created", "Order created", "已下单"},
		{"label_created", "Label created", "已打单"},
		{"pickup_scheduled", "Pickup scheduled", "待揽收"},
		{"pickup_failed", "Pickup failed", "揽收失败"},
		{"preparing", "Being prepared by the sender", "商家备货中"},
	}},
	PickedUp: {row{"picked_up", "Picked up", "已揽收"}, 30, []row{
		{"collected", "Collected by the courier", "快递员已揽收"},
		{"dropped_off", "Dropped off by the sender", "寄件人已投递"},
		{"accepted", "Accepted at the carrier's counter", "网点已收寄"},
	}},
	InTransit: {row{"in_transit", "In transit", "运输中"}, 40, []row{
		{"moving", "On its way", "在途"},
		{"departed", "Left a facility", "离开网点"},
		{"arrived", "Arrived at a facility", "到达网点"},
		{"processed", "Processed at a facility", "已分拣"},
		{"line_haul_departed", "Line haul departed", "干线已发车"},
		{"line_haul_arrived", "Line haul arrived", "干线已到达"},
		{"left_origin_country", "Left the country of origin", "离开寄件国"},
		{"arrived_destination_country", "Arrived in the destination country", "到达目的国"},
		{"arrived_destination_city", "Arrived in the destination city", "到达派件城市"},
		{"at_delivery_office", "At the delivery office", "到达派件网点"},
		{"handed_over", "Handed over to another carrier", "转交其他承运商"},
		{"redirected", "Redirected to another address", "已转寄"},
		{"held_at_facility", "Held at a facility", "网点滞留"},
		{"security_check", "Security check", "安检中"},
		{"resumed", "Transport resumed", "恢复运输"},
	}},
	Customs: {row{"customs", "Customs", "清关"}, 50, []row{
		{"export_presented", "Presented to export customs", "出口报关"},
		{"export_held", "Held by export customs", "出口海关扣留"},
		{"export_cleared", "Export customs cleared", "出口清关完成"},
		{"in_clearance", "In customs clearance", "清关中"},
		{"inspection", "Customs inspection", "海关查验"},
		{"held", "Held by customs", "清关异常"},
		{"info_required", "Customs asks for documents or details", "海关要求补充资料"},
		{"payment_required", "Customs duty to be paid", "待缴关税"},
		{"duty_paid", "Customs duty paid", "关税已缴"},
		{"delayed", "Customs clearance delayed", "清关延误"},
		{"cleared", "Customs cleared", "清关完成"},
		{"rejected", "Rejected by customs", "海关拒绝入境"},
	}},
	OutForDelivery: {row{"out_for_delivery", "Out for delivery", "派送中"}, 60, []row{
		{"on_vehicle", "With the courier for delivery", "派件中"},
		{"appointment", "Delivery appointment made", "已预约派送"},
		{"notified", "Recipient notified before delivery", "派前已联系"},
		{"to_pickup_point", "On its way to a pickup point", "送往自提点"},
		{"retrieved", "Taken out of the locker to be delivered again", "从柜取出重新派送"},
	}},
	AvailableForPickup: {row{"available_for_pickup", "Available for pickup", "待取件"}, 70, []row{
		{"pickup_point", "At a pickup point", "已到驿站待取"},
		{"locker", "In a parcel locker", "已放入快递柜"},
		{"carrier_counter", "At the carrier's counter", "已到网点自提"},
		{"overdue", "Pickup overdue", "超时未取"},
	}},
	DeliveryFailed: {row{"delivery_failed", "Delivery failed", "派送失败"}, 65, []row{
		{"attempted", "Delivery attempted", "派件异常"},
		{"recipient_absent", "Recipient absent", "收件人不在"},
		{"recipient_unreachable", "Recipient cannot be reached", "无法联系收件人"},
		{"address_problem", "Address incomplete or wrong", "地址有误"},
		{"refused", "Refused by the recipient", "收件人拒收"},
		{"business_closed", "Business closed", "单位休息"},
		{"rescheduled", "Delivery rescheduled", "改约派送"},
		{"no_access", "No access to the address", "无法进入派送地址"},
		{"payment_due", "Payment due on delivery", "待付款"},
		{"security", "Delivery failed for security reasons", "安全原因未派送"},
	}},
	Delivered: {row{"delivered", "Delivered", "已签收"}, 90, []row{
		{"unspecified", "Delivered", "已签收"},
		{"recipient", "Delivered to the recipient", "本人签收"},
		{"other_person", "Delivered to another person", "他人代签"},
		{"neighbour", "Delivered to a neighbour", "邻居代收"},
		{"front_desk", "Delivered to the front desk", "前台代收"},
		{"locker", "Delivered into a locker", "投柜签收"},
		{"collected", "Collected from a locker or pickup point", "自提签收"},
		{"safe_place", "Left in a safe place", "放置指定地点"},
		{"mailbox", "Delivered into the mailbox", "投入信箱"},
		{"cash_collected", "Delivered, cash on delivery collected", "货到付款已收款"},
		{"partial", "Partly delivered", "部分签收"},
		{"after_exception", "Delivered after an exception", "异常后签收"},
		{"damaged", "Delivered damaged", "破损签收"},
	}},
	Exception: {row{"exception", "Exception", "异常"}, 55, []row{
		{"unspecified", "Exception", "疑难件"},
		{"delayed", "Delayed", "配送延迟"},
		{"weather", "Delayed by weather", "天气原因延误"},
		{"carrier_issue", "Problem at the carrier", "承运商原因异常"},
		{"missorted", "Missorted", "错分件"},
		{"damaged", "Damaged", "破损"},
		{"lost", "Lost", "丢失"},
		{"destroyed", "Destroyed", "已销毁"},
		{"address_problem", "Address problem", "地址异常"},
		{"recipient_moved", "Recipient moved", "收件人迁址"},
		{"held", "Held", "被扣留"},
		{"payment_required", "Payment required", "待付费"},
		{"documents_missing", "Documents missing", "缺少单证"},
		{"prohibited", "Prohibited goods", "违禁品"},
		{"seized", "Seized", "已没收"},
		{"security", "Security exception", "安检异常"},
		{"intercepted", "Intercepted at the sender's request", "已拦截"},
		{"unclaimed", "Unclaimed", "无人认领"},
		{"no_movement", "No movement for a long time", "超时未更新"},
		{"not_delivered_in_time", "Not delivered in time", "超时未签收"},
		{"no_pickup_scan", "No pickup scan after dispatch", "发货无信息"},
		{"out_of_area", "Out of the service area", "超派送区域"},
		{"under_investigation", "Under investigation", "调查中"},
		{"claim_paid", "Claim paid", "已理赔"},
	}},
	Returning: {row{"returning", "Returning", "退回中"}, 95, []row{
		{"initiated", "Return initiated", "开始退回"},
		{"in_transit", "Return in transit", "退回途中"},
		{"undelivered", "Return not yet delivered to the sender", "退货未签收"},
		{"available_for_pickup", "Return available for pickup by the sender", "退件待取"},
		{"failed", "Return failed", "退回失败"},
	}},
	Returned: {row{"returned", "Returned", "已退回"}, 98, []row{
		{"to_sender", "Returned to the sender", "退回件已签收"},
		{"to_warehouse", "Returned to a warehouse", "退回仓库"},
	}},
	Cancelled: {row{"cancelled", "Cancelled", "已取消"}, 99, []row{
		{"unspecified", "Cancelled", "已取消"},
		{"by_sender", "Cancelled by the sender", "寄件人取消"},
		{"by_recipient", "Cancelled by the recipient", "收件人取消"},
		{"by_carrier", "Cancelled by the carrier", "承运商取消"},
	}},
	Expired: {row{"expired", "Expired", "已过期"}, 100, []row{
		{"no_updates", "No updates for a long time", "长期无更新"},
		{"stopped", "Tracking stopped", "已停止跟踪"},
	}},
}
