import { Badge } from '@mantine/core'
import {
  IconAlertTriangle,
  IconBan,
  IconCheck,
  IconClock,
  IconLoader2,
  IconPlayerPlayFilled,
  IconPlayerStop,
} from '@tabler/icons-react'
import { useTranslation } from 'react-i18next'
import type { SessionStatus } from '../gql/graphql'

const LOOKS: Record<SessionStatus, [string, typeof IconClock]> = {
  PENDING: ['yellow', IconClock],
  SCHEDULED: ['blue', IconLoader2],
  PREPARING: ['blue', IconLoader2],
  PULLING: ['blue', IconLoader2],
  PREPARED: ['blue', IconLoader2],
  CREATING: ['blue', IconLoader2],
  RUNNING: ['teal', IconPlayerPlayFilled],
  TERMINATING: ['orange', IconPlayerStop],
  TERMINATED: ['gray', IconCheck],
  CANCELLED: ['gray', IconBan],
  ERROR: ['red', IconAlertTriangle],
}

/** A status as colour, icon and word: none of them alone. */
export function StatusBadge({ status }: { status: SessionStatus }) {
  const { t } = useTranslation()
  const [color, Icon] = LOOKS[status]
  return (
    <Badge
      color={color}
      variant="light"
      leftSection={<Icon size={12} aria-hidden />}
      autoContrast
      tt="none"
      miw="max-content"
      fw={600}
    >
      {t(`status.${status}`)}
    </Badge>
  )
}
